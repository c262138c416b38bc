package health

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"
)

// KeepFile keeps a file for a web server that answers the balancer itself, until ctx ends: it is there, holding "ok", exactly while the
// application is fit for traffic. It is replaced as a whole with each probe, so that its time tells how fresh it is.
//
// Before the first probe has ended nothing is changed, and at the end it is left as it is: a restart of the agent, or its absence, neither
// takes a healthy instance out of service nor brings a sick one back.
func (r *Registry) KeepFile(ctx context.Context, path string) {
	var told string
	for {
		ans := r.app.current(time.Now())
		if err := keepFile(path, ans.report); err != nil && err.Error() != told {
			told = err.Error()
			r.log.Error("the status file for the web server cannot be kept", zap.String("path", path), zap.Error(err))
		} else if err == nil {
			told = ""
		}
		// One moment later it is beyond the answer's end.
		timer := time.NewTimer(max(time.Until(ans.until)+time.Millisecond, time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.app.news:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func keepFile(path string, rep Report) error {
	switch {
	case rep.State == Healthy:
		return renameio.WriteFile(path, []byte("ok\n"), 0o644, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o644))
	case rep.State == Starting && rep.Checked.IsZero():
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
