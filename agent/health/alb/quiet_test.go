package alb_test

import (
	"io"
	"log"
)

// quiet is a log for servers that are asked badly on purpose.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
