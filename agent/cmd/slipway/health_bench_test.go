package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"slipway/lifecycle/bundle/bundletest"
)

// BenchmarkHealthWhileDeploying asks the balancer's path as fast as it answers while deployments of 5,000 files follow each other, and
// reports requests a second and the 99th percentile of their time. The aim on a quiet machine: 2,000 a second, 5 ms.
func BenchmarkHealthWhileDeploying(b *testing.B) {
	h := newHostWith(b, 2*time.Second)
	app := newApplication(b)
	h.withApplication(app.URL)
	h.extra = append(h.extra, "SLIPWAY_HEALTH_RISE=1")
	for _, key := range []string{"a", "b"} {
		h.put(key, bundletest.Zip(slices.Collect(bundletest.Tree(5000, h.dir+"/site-"+key))...))
	}
	h.start()
	h.answering()
	h.eventually("the application is well", h.balancerHears("ok"))
	url := h.listener() + "/health"

	stop := make(chan struct{})
	var deploying sync.WaitGroup
	deployments := 0
	deploying.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			spec := h.spec(fmt.Sprint("d-", i), []string{"a", "b"}[i%2], "zip")
			for _, event := range []string{"DownloadBundle", "Install"} {
				if c := h.do(event, spec); c.Status != "Succeeded" {
					b.Errorf("%s: %+v", event, c)
					return
				}
			}
			deployments++
		}
	})
	var mu sync.Mutex
	var all []time.Duration
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		var took []time.Duration
		for pb.Next() {
			began := time.Now()
			resp, err := client.Get(url)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			took = append(took, time.Since(began))
			if resp.StatusCode != http.StatusOK {
				b.Errorf("status %d during a deployment", resp.StatusCode)
				return
			}
		}
		mu.Lock()
		all = append(all, took...)
		mu.Unlock()
	})
	b.StopTimer()
	close(stop)
	deploying.Wait()
	slices.Sort(all)
	const share = 0.99
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(float64(all[int(float64(len(all)-1)*share)].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(deployments), "deployments")
}
