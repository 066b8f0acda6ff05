// Bench measures gonso against floors: what the kernel and the Go runtime take
// for the same work without gonso. Everything of a row is measured in one run,
// in turns, because times of different runs of a machine do not compare; what
// counts is the ratio. Peers are measured in the same way.
//
//	go run ./bench [-rounds N] [-run REGEXP] [-short] [-json FILE] [-compare FILE] [-cpuprofile FILE]
//	go run ./bench -plot DIRECTORY FILE
//
// Rows that a plain user cannot measure say so, and so do those that need two CPUs.
//
// Rows named "warm" are of single calls. A process, the hand, makes them. It is
// pinned to CPUs before it starts, so that its Go runtime counts no others; the
// process at the other end is pinned thread by thread when it is there. There
// are three placements: both on one CPU, on one each, and free. Each contestant
// has one turn a round, and each round begins with another one. Ratios are of
// turns of the same round, thus of the same placement. CPU time is that of the
// processes' CPU clocks, and has threads that have ended. Context switches of a
// worker are what it says of itself; those of peers are of threads that /proc
// has. With more than one caller a ratio is of what all of them get done.
// Time that the caller's process takes to wait for the next call is in its CPU
// time: "the pace alone" is that and nothing else.
//
// What -json writes is kept in results, by date, and compared with -compare:
// ratios of ratios, with the noise that both runs had. Directories below this
// one are packages of their own: record has results, single the hand; peers
// and plot are programs, because what they import would make every start of
// this one longer, and starts are measured, too.
package main
