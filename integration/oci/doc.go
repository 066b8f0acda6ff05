// Package oci shows how types of the OCI runtime specification are used with gonso. It has examples only,
// which need a module that the library does not depend on.
package oci
