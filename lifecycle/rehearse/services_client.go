package rehearse

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// RecorderMain is the body of systemctl and its like in a rehearsal: args are the command line, with the name of the program. It asks the recorder,
// prints what that answers, and returns the exit code. Outside of a rehearsal it fails as if there were no service manager.
func RecorderMain(args []string) int {
	if len(args) == 0 {
		return 1
	}
	name := filepath.Base(args[0])
	code, err := askRecorder(append([]string{name}, args[1:]...))
	if err != nil {
		fmt.Fprintf(os.Stderr, "Failed to connect to bus: %v\n", err)
		return 1
	}
	return code
}

func askRecorder(args []string) (int, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: recorderSocket, Net: "unix"})
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return 0, errno
		}
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // all was said
	dir, _ := os.Getwd()
	out, in := json.NewEncoder(conn), json.NewDecoder(conn)
	if err := out.Encode(serviceRequest{Args: args, Dir: dir}); err != nil {
		return 0, err
	}
	for {
		var r serviceReply
		if err := in.Decode(&r); err != nil {
			return 0, err
		}
		if len(r.Exec) == 0 {
			// In the order of a program that fails: what it says goes before why.
			_, _ = os.Stdout.WriteString(r.Out)
			_, _ = os.Stderr.WriteString(r.Err)
			return r.Exit, nil
		}
		if err := out.Encode(runForRecorder(r.Exec)); err != nil {
			return 0, err
		}
	}
}

// runForRecorder runs a program with what this one has, and returns its exit code, -1 if it could not be started.
func runForRecorder(args []string) int {
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it ends when its caller would end it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return -1
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return cmd.ProcessState.ExitCode()
}
