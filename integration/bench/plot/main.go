// Plot draws results of bench as SVG: plot DIR RESULTS.json. It is a program beside bench, which starts it
// for its option -plot, as its packages take their time at every start.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonso/gonso/integration/bench/record"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: plot DIRECTORY RESULTS.json")
	}
	dir, file := args[0], args[1]
	r, err := record.Read(file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	drawn := 0
	for _, p := range plots {
		svg, err := p.draw(r)
		if errors.Is(err, errNothing) {
			fmt.Printf("%s: %v\n", p.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		name := filepath.Join(dir, p.name)
		if err := os.WriteFile(name, svg, 0o666); err != nil {
			return err
		}
		fmt.Println(name)
		drawn++
	}
	if drawn == 0 {
		return fmt.Errorf("%s: there is nothing in it to draw", file)
	}
	return nil
}
