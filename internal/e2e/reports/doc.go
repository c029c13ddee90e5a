// Package reports runs what people have reported about other stacks, each report as it was
// described, in network namespaces.
package reports
