package rsotel_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	rsscript "github.com/rs-script/rs_script/bindings/go"
	"github.com/rs-script/rs_script/bindings/go/rsotel"
	"github.com/rs-script/rs_script/bindings/go/rstest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"
)

var ctx = context.Background()

// observed gives a client, and functions for the spans since the last time and for what was measured.
func observed(t *testing.T, answer func(*rstest.Call) any, options ...rsotel.Option) (
	*rsscript.Client, func() tracetest.SpanStubs, func() []metricdata.HistogramDataPoint[float64],
) {
	spans, reader := tracetest.NewInMemoryExporter(), metric.NewManualReader()
	options = append([]rsotel.Option{
		rsotel.WithTracerProvider(trace.NewTracerProvider(trace.WithSyncer(spans))),
		rsotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))),
	}, options...)
	client := rstest.Open(t, answer, rsscript.WithHook(rsotel.New(options...)))
	return client, func() tracetest.SpanStubs {
			defer spans.Reset()
			return spans.GetSpans()
		}, func() []metricdata.HistogramDataPoint[float64] {
			var all metricdata.ResourceMetrics
			if err := reader.Collect(ctx, &all); err != nil {
				t.Fatal(err)
			}
			metrics := all.ScopeMetrics[0].Metrics
			if len(metrics) != 1 || metrics[0].Name != "db.client.operation.duration" || metrics[0].Unit != "s" {
				t.Fatal(metrics)
			}
			return metrics[0].Data.(metricdata.Histogram[float64]).DataPoints
		}
}

func shown(attributes []attribute.KeyValue) string {
	texts := make([]string, len(attributes))
	for i, a := range attributes {
		texts[i] = fmt.Sprintf("%s=%s", a.Key, a.Value.Emit())
	}
	sort.Strings(texts)
	return strings.Join(texts, " ")
}

func TestSpansAndMeasurements(t *testing.T) {
	var answer any
	client, spans, measured := observed(t, func(*rstest.Call) any { return answer },
		rsotel.WithURL("redis://user:hunter2@cache:6380/3"), rsotel.WithAttributes(attribute.String("tier", "one")))
	named, nameless := client.Script("return 1", rsscript.Name("reserve")), client.Script("return 2")
	const common = "db.namespace=3 "
	const server = "server.address=cache server.port=6380 tier=one"
	pipeline := func(p *rsscript.Pipeline) func() {
		return func() { p.Exec(ctx) }
	}
	for _, test := range []struct {
		answer           any
		call             func()
		name, attributes string
	}{
		{"OK", func() { client.Do(ctx, "set", "k", "secret") }, "SET",
			common + "db.operation.name=SET db.system.name=redis " + server},
		{1, func() { named.Call(ctx, nil) }, "EVALSHA reserve",
			common + "db.operation.name=EVALSHA db.stored_procedure.name=reserve db.system.name=redis " + server},
		{1, func() { nameless.CallRO(ctx, []string{"secret"}) }, "EVALSHA_RO " + nameless.SHA(),
			common + "db.operation.name=EVALSHA_RO db.stored_procedure.name=" + nameless.SHA() +
				" db.system.name=redis " + server},
		{1, pipeline(client.Pipeline().Do("GET", "a").Do("GET", "b")), "PIPELINE GET",
			common + "db.operation.batch.size=2 db.operation.name=PIPELINE GET db.system.name=redis " + server},
		{1, pipeline(client.Transaction().Do("GET", "a").Call(named, nil)), "MULTI",
			common + "db.operation.batch.size=2 db.operation.name=MULTI db.system.name=redis " + server},
		{1, pipeline(client.Pipeline().Do("GET", "a")), "PIPELINE GET",
			common + "db.operation.name=PIPELINE GET db.system.name=redis " + server},
		{errors.New("WRONGTYPE no"), func() { client.Do(ctx, "GET", "k") }, "GET",
			common + "db.operation.name=GET db.response.status_code=WRONGTYPE db.system.name=redis " +
				"error.type=WRONGTYPE rs_script.indeterminate=false rs_script.not_executed=false " + server},
		{rstest.LostReply(), func() { client.Do(ctx, "GET", "k") }, "GET",
			common + "db.operation.name=GET db.system.name=redis " +
				"error.type=RS_ERR_INDETERMINATE rs_script.indeterminate=true rs_script.not_executed=false " + server},
		{&rsscript.Error{Status: rsscript.ErrConnect, Message: "no", NotExecuted: true, Node: "10.0.0.1:7000"},
			func() { client.Do(ctx, "GET", "k") }, "GET",
			common + "db.operation.name=GET db.system.name=redis error.type=RS_ERR_CONNECT " +
				"network.peer.address=10.0.0.1 network.peer.port=7000 " +
				"rs_script.indeterminate=false rs_script.not_executed=true " + server},
		{&rsscript.Error{Status: rsscript.ErrServer, Message: "user:1 is gone", ServerCode: "user:1"},
			func() { client.Do(ctx, "GET", "k") }, "GET",
			common + "db.operation.name=GET db.system.name=redis error.type=RS_ERR_SERVER " +
				"rs_script.indeterminate=false rs_script.not_executed=false " + server},
		{rstest.NoScript(), pipeline(client.Pipeline().Do("GET", "a")), "PIPELINE GET",
			common + "db.operation.name=PIPELINE GET db.response.status_code=NOSCRIPT db.system.name=redis " +
				"error.type=NOSCRIPT rs_script.indeterminate=false rs_script.not_executed=true " + server},
	} {
		answer = test.answer
		test.call()
		found := spans()
		if len(found) != 1 {
			t.Fatal(found)
		}
		span := found[0]
		if span.Name != test.name || span.SpanKind != api.SpanKindClient || shown(span.Attributes) != test.attributes {
			t.Fatalf("%s\n%s, not\n%s", span.Name, shown(span.Attributes), test.attributes)
		}
		if isError := strings.Contains(test.attributes, "error.type"); isError != (span.Status.Code == codes.Error) {
			t.Fatal(span.Status)
		}
		// What was measured has the same attributes, but for what is known of the execution.
		wanted := regexp.MustCompile(`rs_script\.\S+ `).ReplaceAllString(test.attributes, "")
		isSame := func(point metricdata.HistogramDataPoint[float64]) bool {
			return shown(point.Attributes.ToSlice()) == wanted
		}
		if !slices.ContainsFunc(measured(), isSame) {
			t.Fatalf("no measurement has %s", wanted)
		}
	}
	var count uint64
	for _, point := range measured() {
		count += point.Count
	}
	if count != 11 {
		t.Fatal(count)
	}
}

// What the library says of the way of a call, which no fake takes.
func TestSpansOfTheWay(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	hook := rsotel.New(rsotel.WithTracerProvider(trace.NewTracerProvider(trace.WithSyncer(spans))))
	for outcome, want := range map[*rsscript.Outcome]string{
		{}:                                     "",
		{Node: "10.0.0.1:7000", Attempts: 1}:   " network.peer.address=10.0.0.1 network.peer.port=7000",
		{Node: "[::1]:7000", Attempts: 3}:      " network.peer.address=::1 network.peer.port=7000 rs_script.attempts=3",
		{Node: "/run/redis.sock", Attempts: 2}: " network.peer.address=/run/redis.sock rs_script.attempts=2",
	} {
		call := &rsscript.CallInfo{Operation: "GET"}
		hook.After(hook.Before(ctx, call), call, outcome)
		if got := shown(spans.GetSpans()[0].Attributes); got != "db.operation.name=GET db.system.name=redis"+want {
			t.Fatal(got, want)
		}
		spans.Reset()
	}
}

// A span is the parent of what is done with its context, and the child of the caller's.
func TestParents(t *testing.T) {
	client, spans, _ := observed(t, func(*rstest.Call) any { return 1 })
	parent := api.NewSpanContext(api.SpanContextConfig{
		TraceID: api.TraceID{1}, SpanID: api.SpanID{2}, TraceFlags: api.FlagsSampled})
	client.Do(api.ContextWithSpanContext(ctx, parent), "PING")
	if span := spans()[0]; span.Parent.SpanID() != parent.SpanID() || span.SpanContext.TraceID() != parent.TraceID() {
		t.Fatal(span)
	}
}

func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h": "server.address=h", "redis://h:6379/": "server.address=h",
		"rediss://:p@h:7/0": "db.namespace=0 server.address=h server.port=7",
		"redis://[::1]:7":   "server.address=::1 server.port=7", "redis://[::1]": "server.address=::1",
		"unix:///run/redis.sock?db=1": "server.address=/run/redis.sock",
		"redis+cluster://a:1,b:2":     "", "redis+cluster://u:p@a:1": "server.address=a server.port=1",
		"redis+sentinel://a:1/orders": "", "redis://u:p@s@h/1": "db.namespace=1 server.address=h",
	} {
		client, spans, _ := observed(t, func(*rstest.Call) any { return 1 }, rsotel.WithURL(url))
		client.Do(ctx, "PING")
		got := strings.Replace(shown(spans()[0].Attributes), "db.operation.name=PING db.system.name=redis", "", 1)
		if got = strings.Join(strings.Fields(got), " "); got != want {
			t.Errorf("%s: %s, not %s", url, got, want)
		}
	}
}

func TestWithoutProviders(t *testing.T) {
	client := rstest.Open(t, func(*rstest.Call) any { return 1 }, rsscript.WithHook(rsotel.New()))
	if err := client.Do(ctx, "PING").Err(); err != nil {
		t.Fatal(err)
	}
}
