// Package nsfs owns descriptors of namespace files and asks the kernel about
// them (ioctl_ns(2)). It knows nothing of Sets, planning or threads; those are
// package gonso's, the only package that should import it.
package nsfs
