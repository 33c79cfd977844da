// Prints what Knative's own autoscaler answers, tick by tick, on made series: the golden vectors of
// kpa.json beside this file, of Knative serving v0.48.1 (v0.51.0 has the same code; its module needs one that the proxy
// does not give). Run it with `go mod tidy && go run . > kpa.json`.
//
// Each series is one value a second (concurrency, or requests a second). Both windows are Knative's buckets, the
// decision is Knative's Scale, asked every 2 seconds as its multiscaler does. Pods are ready `lag` ticks after they
// were asked for, and at once fewer when fewer are asked for.
package main

import (
	"encoding/json"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/autoscaler/aggregation"
	"knative.dev/serving/pkg/autoscaler/scaling"
)

type windows struct {
	stable, panic *aggregation.TimedFloat64Buckets
	seen          [2]float64
}

func (w *windows) both(now time.Time) (float64, float64, error) {
	w.seen = [2]float64{w.stable.WindowAverage(now), w.panic.WindowAverage(now)}
	return w.seen[0], w.seen[1], nil
}

func (w *windows) StableAndPanicConcurrency(_ types.NamespacedName, now time.Time) (float64, float64, error) {
	return w.both(now)
}

func (w *windows) StableAndPanicRPS(_ types.NamespacedName, now time.Time) (float64, float64, error) {
	return w.both(now)
}

type pods struct{ ready int }

func (p *pods) ReadyCount() (int, error)    { return p.ready, nil }
func (p *pods) NotReadyCount() (int, error) { return 0, nil }

type setting struct {
	Target         float64 `json:"target"`
	StableWindow   float64 `json:"stable_window"`
	PanicPercent   float64 `json:"panic_percent"`
	PanicThreshold float64 `json:"panic_threshold"`
	UpRate         float64 `json:"up_rate"`
	DownRate       float64 `json:"down_rate"`
	ScaleDownDelay float64 `json:"scale_down_delay"`
	Activation     int32   `json:"activation"`
	Lag            int     `json:"lag"`
}

// At an odd second: replicas ready before it, the averages of both windows, replicas wanted.
type tick [4]float64

type run struct {
	Name    string     `json:"name"`
	Setting setting    `json:"setting"`
	Series  []*float64 `json:"series"`
	Ticks   []tick     `json:"ticks"`
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func play(name string, s setting, series []*float64) run {
	panicWindow := seconds(s.StableWindow * s.PanicPercent / 100)
	w := &windows{
		stable: aggregation.NewTimedFloat64Buckets(seconds(s.StableWindow), time.Second),
		panic:  aggregation.NewTimedFloat64Buckets(panicWindow, time.Second),
	}
	p := &pods{}
	scaler := scaling.New(*attribute.EmptySet(), noop.NewMeterProvider(), "n", "r", w, p, &scaling.DeciderSpec{
		MaxScaleUpRate: s.UpRate, MaxScaleDownRate: s.DownRate, ScalingMetric: "concurrency", TargetValue: s.Target,
		TotalValue: s.Target, TargetBurstCapacity: 200, PanicThreshold: s.PanicThreshold / 100,
		StableWindow: seconds(s.StableWindow), ScaleDownDelay: seconds(s.ScaleDownDelay), Reachable: true,
		ActivationScale: s.Activation,
	})
	begun := time.Unix(1_790_000_000, 0)
	found := run{Name: name, Setting: s, Series: series}
	asked := []int32{}
	for second, value := range series {
		now := begun.Add(time.Duration(second) * time.Second)
		if value != nil {
			w.stable.Record(now, *value)
			w.panic.Record(now, *value)
		}
		if second%2 != 1 {
			continue
		}
		said := scaler.Scale(zap.NewNop().Sugar(), now)
		found.Ticks = append(found.Ticks, tick{float64(p.ready), w.seen[0], w.seen[1], float64(said.DesiredPodCount)})
		asked = append(asked, said.DesiredPodCount)
		old := int32(0)
		if len(asked) > s.Lag {
			old = asked[len(asked)-1-s.Lag]
		}
		if int(said.DesiredPodCount) < p.ready {
			p.ready = int(said.DesiredPodCount)
		} else if int(old) > p.ready && old <= said.DesiredPodCount {
			p.ready = int(old)
		}
	}
	return found
}

// A fixed generator of numbers, so that the file can be made again bit for bit.
type numbers struct{ state uint64 }

func (n *numbers) below(limit int) int {
	n.state = n.state*6364136223846793005 + 1442695040888963407
	return int((n.state >> 33) % uint64(limit))
}

func main() {
	n := &numbers{7}
	usual := setting{Target: 70, StableWindow: 60, PanicPercent: 10, PanicThreshold: 200, UpRate: 1000, DownRate: 2, Lag: 3}
	shapes := []struct {
		name  string
		value func(second int) *float64
	}{
		{"steady", func(int) *float64 { v := 35.; return &v }},
		{"burst", func(t int) *float64 {
			v := 0.
			if t >= 20 && t < 35 {
				v = 900
			}
			return &v
		}},
		{"saw", func(t int) *float64 { v := float64(t%90) * 5.25; return &v }},
		{"noise", func(int) *float64 { v := float64(n.below(4000)) / 16; return &v }},
		{"gaps", func(t int) *float64 {
			if t%97 > 30 && n.below(4) > 0 {
				return nil
			}
			v := float64(n.below(900)) / 8
			return &v
		}},
		{"silences", func(t int) *float64 {
			if t%170 > 70 {
				return nil
			}
			v := float64(n.below(200))
			return &v
		}},
	}
	settings := []setting{usual}
	change := func(edit func(*setting)) {
		one := usual
		edit(&one)
		settings = append(settings, one)
	}
	change(func(s *setting) { s.Target, s.StableWindow = 0.7, 6 })
	change(func(s *setting) { s.Target, s.UpRate, s.DownRate, s.Lag = 3.5, 1.5, 1.1, 1 })
	change(func(s *setting) { s.ScaleDownDelay, s.Target = 30, 10 })
	change(func(s *setting) { s.Activation, s.Target, s.Lag = 3, 10, 8 })
	change(func(s *setting) { s.PanicPercent, s.PanicThreshold, s.Target, s.Lag = 25, 110, 7, 0 })
	change(func(s *setting) { s.StableWindow, s.Target, s.ScaleDownDelay = 120, 21, 61 })
	found := []run{}
	for _, s := range settings {
		for _, shape := range shapes {
			series := []*float64{}
			for t := range 260 {
				series = append(series, shape.value(t))
			}
			found = append(found, play(shape.name, s, series))
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}
