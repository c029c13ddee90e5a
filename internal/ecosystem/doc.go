// Package ecosystem has no code: its tests run other people's libraries, unchanged, on the
// conns of package udp. It is a module of its own so that package udp depends on none of them.
//
// Almost every test runs twice: on the kernel's loopback, and in a bubble of testing/synctest
// on a simulated network that loses 5% of the datagrams and delays all of them by 20 ms.
package ecosystem
