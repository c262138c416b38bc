// Command slipway-lab is AWS on loopback for trying the agent offline: see slipway-lab --help.
package main

import "os"

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}
