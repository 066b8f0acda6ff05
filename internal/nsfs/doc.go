// Package nsfs owns descriptors of namespace files and asks the kernel about them (ioctl_ns(2)). It
// knows nothing of Sets, planning or threads: package gonso does. No other package should import
// this one.
package nsfs
