package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"slipway/agent"
)

// cloudInitRun is where cloud-init says how it stands at this boot. It is in memory: what is there is not of an earlier boot.
const cloudInitRun = "/run/cloud-init"

// cloudInit is cloud-init as its files show it. A unit cannot be ordered after it: its last stage is itself ordered after multi-user.target on
// many images, and user-data that starts the agent would wait for an agent that waits for user-data. So the agent starts, and takes no command.
type cloudInit struct {
	dir string
	// care is how often it is looked although the folder is watched; it is looked every second where that cannot be.
	care  time.Duration
	watch func(dir string) (*fsnotify.Watcher, error)
	log   *zap.Logger
}

func newCloudInit(log *zap.Logger) *cloudInit {
	return &cloudInit{dir: cloudInitRun, care: 10 * time.Second, log: log, watch: func(dir string) (*fsnotify.Watcher, error) {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			return nil, err
		}
		if err := w.Add(dir); err != nil {
			return nil, errors.Join(err, w.Close())
		}
		return w, nil
	}}
}

// pending reports whether cloud-init works at this boot and has not finished. It has made status.json before the network is there, and makes
// result.json at its end, whatever that is; enabled and disabled are of its generator, which not every release has.
func (c *cloudInit) pending() bool {
	there := func(name string) bool {
		_, err := os.Lstat(filepath.Join(c.dir, name)) // links to files that outlast the boot; they are made after those
		return err == nil
	}
	return !there("result.json") && !there("disabled") && (there("status.json") || there("enabled"))
}

// wait returns nil when cloud-init has finished, else the cause of ctx.
func (c *cloudInit) wait(ctx context.Context) error {
	var events chan fsnotify.Event
	var errs chan error
	pause := c.care
	if watch, err := c.watch(c.dir); err == nil {
		defer watch.Close() //nolint:errcheck // nothing was written
		events, errs = watch.Events, watch.Errors
	} else {
		c.log.Debug("the folder of cloud-init is not watched: it is looked at every second", zap.Error(err))
		pause = time.Second
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for c.pending() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-events:
		case err := <-errs: // something may have been missed: look again
			c.log.Debug("events of the folder of cloud-init lost", zap.Error(err))
		case <-tick.C:
		}
	}
	return nil
}

// errBootWait says that the wait for the end of the boot is over its bound.
var errBootWait = errors.New("the wait is over")

// expectBoot looks whether there is something to wait for and returns what, "" if there is nothing. It is known before systemd hears that the start is
// complete.
func (d *daemon) expectBoot(boot *cloudInit) string {
	text := d.bootWait(boot)
	if text != "" {
		d.waiting.Store(&text)
	}
	return text
}

// bootWaitText begins the reason for which the agent takes no command yet.
const bootWaitText = "waiting for cloud-init"

func (d *daemon) bootWait(boot *cloudInit) string {
	if s := d.cfg.Start; s.WaitFor != "cloud-init" || s.Wait <= 0 || !boot.pending() {
		return ""
	}
	return bootWaitText + " to finish (at most " + spanText(d.cfg.Start.Wait) + ")"
}

// awaitBoot holds back what asks the network until what expectBoot has seen is over, at most for start.wait. systemd has been told before that the
// start is complete: whatever user-data or another unit waits for must not wait for this. errStopped: the stop came first.
func (d *daemon) awaitBoot(ctx context.Context, boot *cloudInit, publish func(agent.Status)) error {
	text := d.waiting.Load()
	if text == nil {
		return nil
	}
	defer d.waiting.Store(nil)
	began := time.Now()
	d.log.Info(*text, zap.Duration("most", d.cfg.Start.Wait))
	bounded, cancel := context.WithTimeoutCause(ctx, d.cfg.Start.Wait, errBootWait)
	defer cancel()
	switch err := boot.wait(bounded); {
	case err == nil:
		d.log.Info("cloud-init has finished: commands are taken from now on", zap.Duration("took", time.Since(began)))
	case errors.Is(err, errBootWait):
		d.log.Warn("cloud-init has not finished in time: commands are taken all the same", zap.Duration("waited", time.Since(began)),
			zap.String("do", "cloud-init status --long says where it is; start.wait is how long it is waited for"))
	default:
		return errStopped
	}
	publish(agent.Status{Started: d.started, Since: time.Now(), Link: agent.Connecting, InHand: []agent.InHand{}})
	if err := d.notify.Status(lookingForIdentity); err != nil {
		d.log.Warn("tell systemd", zap.Error(err))
	}
	return nil
}
