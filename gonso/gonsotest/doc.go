// Package gonsotest helps tests that need namespaces. [New] makes a Set that lasts as long as the
// test, and skips the test if the machine does not permit it. [Do] runs a function of the test
// inside, and Fatal and Skip work in it. [Eventually] waits until the kernel has done something.
// [Main] runs the tests of a plain user as root of a user namespace.
//
// # Skips and promises
//
// The reason of a skip begins with "skip: needs", so that it can be found in the output of a run.
// The environment variable GONSO_TEST_REQUIRE says that tests have to run. It is a comma separated
// list of promises. With "root", a test fails, and does not skip, if namespaces without a user
// namespace cannot be made. With "userns", it fails if namespaces with a user namespace cannot be
// made.
//
// # Init
//
// If tests need a worker, for registered functions for example, their TestMain calls [gonso.Init]
// first, or [Main]. New and Do need no TestMain.
//
// A worker does not have the arguments of the test binary, and parses no flags. So testing.Short
// and testing.Verbose panic in a registered function there. Pass what they say as its argument.
package gonsotest
