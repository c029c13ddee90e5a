// Package group tests groups of sockets as their users see them: with traffic, with
// members that leave, and with processes that take over from one another.
package group
