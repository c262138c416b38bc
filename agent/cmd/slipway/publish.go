package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"slipway/agent"
)

// publisher tells how the agent stands to everybody who asks: the status file, systemd, the metrics.
type publisher struct {
	d      *daemon
	listen string
	mu     sync.Mutex // keeps the states in order
	text   string     // last told to systemd
}

func (p *publisher) publish(s agent.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := report{PID: os.Getpid(), Version: buildVersion(), Listen: p.listen, Hooks: p.d.contain, Status: s}
	if err := r.save(p.d.cfg.RootDir); err != nil {
		p.d.log.Debug("write the status file", zap.Error(err))
	}
	p.d.drains.seen(p.d, s.InHand)
	var oldest time.Time
	if len(s.InHand) > 0 {
		oldest = s.InHand[0].Since
	}
	p.d.health.Metrics().Tickets(len(s.InHand), oldest)
	p.d.health.Metrics().Service(s.Link == agent.Online, s.LastPoll)
	text := string(s.Link) + "; nothing in hand"
	if len(s.InHand) > 0 {
		text = fmt.Sprintf("%s; %s of %s", s.Link, s.InHand[0].Event, or(s.InHand[0].Deployment, "a new deployment"))
	}
	if text == p.text {
		return
	}
	p.text = text
	if err := p.d.notify.Status(text); err != nil {
		p.d.log.Debug("tell systemd", zap.Error(err))
	}
}
