// Package gonsotest helps tests that need namespaces: [New] makes a Set that
// lasts as long as the test, and skips the test where the machine does not
// permit it; [Do] runs a function of the test inside, in which Fatal and Skip
// mean what they mean in the test; [Eventually] waits for what the kernel does later. [Main] has a
// plain user's tests run as root, in a user namespace of their own.
//
// # Skips and promises
//
// What a test skips for begins with "skip: needs", so that a run can be searched
// for it. Where a test has to run, say so in the environment variable
// GONSO_TEST_REQUIRE, a comma separated list of what the run promises: with
// "root", the test fails and does not skip where namespaces without a user
// namespace among them cannot be made, with "userns" where those with one cannot.
//
// # Init
//
// TestMain of tests that call registered functions begins with [gonso.Init], as
// any main does, or is [Main]; New and Do need nothing.
package gonsotest
