// Command slipway is the deployment agent of an instance: see slipway --help.
package main

import "os"

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}
