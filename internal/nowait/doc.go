// Package nowait is system calls that never wait, on descriptors that are non-blocking. The Go
// runtime is not told of most of them: to prepare for a call that may wait, and to find
// out afterwards that it did not, costs as much as they do.
//
// It is for loops that serve many sockets from one goroutine, and for Linux.
package nowait
