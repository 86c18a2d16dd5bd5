// Package rsotel tells OpenTelemetry of the calls of package rsscript: a span for each, and the histogram
// db.client.operation.duration.
//
//	client, err := rsscript.Open(ctx, url, rsscript.WithHook(rsotel.New(rsotel.WithURL(url))))
//
// Names and attributes are those of the [semantic conventions for Redis], as they are since they are stable. A span
// is named after the command, and of a script also after that, such as "EVALSHA reserve": the script's name (see
// rsscript.Name), else its SHA1, is db.stored_procedure.name. Pipelines and transactions are one span, "PIPELINE"
// and "MULTI", followed by the command where they have one only. Keys, arguments and sources are not told, but for what
// an error's message quotes of them: that is the description of a failed span's status, and in no measurement.
//
// Three attributes are this library's own: on spans of calls that failed rs_script.indeterminate, where the call may
// have been executed, and rs_script.not_executed, where it certainly was not; and rs_script.attempts, how often a call
// was put on a connection, where that was more than once.
//
// [semantic conventions for Redis]: https://opentelemetry.io/docs/specs/semconv/database/redis/
package rsotel

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	rsscript "github.com/rs-script/rs_script/bindings/go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/rs-script/rs_script/bindings/go/rsotel"

// Option is something that [New] is told.
type Option func(*hook)

// WithTracerProvider is who makes the spans. Default: the global one.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(h *hook) { h.tracers = provider }
}

// WithMeterProvider is who makes the histogram. Default: the global one.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(h *hook) { h.meters = provider }
}

// WithURL tells of the server that the client's URL names: its address and port, and the number of the database. Of
// several, as a cluster's URL has, it tells nothing.
func WithURL(url string) Option {
	return func(h *hook) { h.common = append(h.common, ofURL(url)...) }
}

// WithAttributes adds attributes to all spans and measurements.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(h *hook) { h.common = append(h.common, attributes...) }
}

type hook struct {
	tracers  trace.TracerProvider
	meters   metric.MeterProvider
	tracer   trace.Tracer
	duration metric.Float64Histogram
	common   []attribute.KeyValue
}

// New makes a hook for rsscript.WithHook. It may be shared by clients.
func New(options ...Option) rsscript.Hook {
	h := &hook{
		tracers: otel.GetTracerProvider(), meters: otel.GetMeterProvider(),
		common: []attribute.KeyValue{semconv.DBSystemNameRedis},
	}
	for _, option := range options {
		option(h)
	}
	h.tracer = h.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	var err error
	meter := h.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	h.duration, err = meter.Float64Histogram("db.client.operation.duration",
		metric.WithDescription("Duration of database client operations."), metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
	if err != nil {
		otel.Handle(err)
	}
	return h
}

func (h *hook) Before(ctx context.Context, call *rsscript.CallInfo) context.Context {
	name := operation(call)
	if call.Script != "" {
		name += " " + call.Script
	}
	ctx, _ = h.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(h.common...), trace.WithAttributes(ofCall(call)...))
	return ctx
}

func (h *hook) After(ctx context.Context, call *rsscript.CallInfo, outcome *rsscript.Outcome) {
	err := outcome.Err
	if err == nil {
		err = rsscript.FirstErr(outcome.Items)
	}
	failure := ofError(err)
	span := trace.SpanFromContext(ctx)
	if span.IsRecording() {
		span.SetAttributes(ofNode(outcome.Node)...)
		if outcome.Attempts > 1 {
			span.SetAttributes(attribute.Int("rs_script.attempts", outcome.Attempts))
		}
	}
	if err != nil && span.IsRecording() {
		span.SetAttributes(failure...)
		span.SetAttributes(certainty(err)...)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
	if h.duration != nil {
		attributes := append(append(h.common[:len(h.common):len(h.common)], ofCall(call)...), failure...)
		h.duration.Record(ctx, outcome.Duration.Seconds(), metric.WithAttributes(attributes...))
	}
}

// operation is db.operation.name: of what is in a pipeline or transaction, where that is always the same, in front
// of it what it is in.
func operation(call *rsscript.CallInfo) string {
	for i := range call.Items {
		if call.Items[i].Operation != call.Items[0].Operation {
			return call.Operation
		}
	}
	if len(call.Items) > 0 {
		return call.Operation + " " + call.Items[0].Operation
	}
	return call.Operation
}

func ofCall(call *rsscript.CallInfo) []attribute.KeyValue {
	attributes := []attribute.KeyValue{semconv.DBOperationName(operation(call))}
	if call.Script != "" {
		attributes = append(attributes, semconv.DBStoredProcedureName(call.Script))
	}
	if len(call.Items) > 1 {
		attributes = append(attributes, semconv.DBOperationBatchSize(len(call.Items)))
	}
	return attributes
}

// ofError is what kind of error it is, and the server that it is about.
func ofError(err error) []attribute.KeyValue {
	if err == nil {
		return nil
	}
	var own *rsscript.Error
	if !errors.As(err, &own) {
		return []attribute.KeyValue{semconv.ErrorTypeOther}
	}
	code := codeOf(own)
	kind := code
	if kind == "" {
		kind = own.Status.Error()
	}
	attributes := []attribute.KeyValue{semconv.ErrorTypeKey.String(kind)}
	if code != "" {
		attributes = append(attributes, semconv.DBResponseStatusCode(code))
	}
	return append(attributes, ofNode(own.Node)...)
}

// codeOf is the error's code, as far as it is one: servers write theirs in capital letters. The first word of what a
// script says may be anything, such as a key, and of those there is no end.
func codeOf(err *rsscript.Error) string {
	isNone := func(letter rune) bool { return (letter < 'A' || letter > 'Z') && letter != '_' }
	if strings.ContainsFunc(err.ServerCode, isNone) {
		return ""
	}
	return err.ServerCode
}

// ofNode is a server, by host:port or the path of a socket.
func ofNode(node string) []attribute.KeyValue {
	if node == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(node)
	if err != nil {
		return []attribute.KeyValue{semconv.NetworkPeerAddress(node)}
	}
	attributes := []attribute.KeyValue{semconv.NetworkPeerAddress(host)}
	if number, err := strconv.Atoi(port); err == nil {
		attributes = append(attributes, semconv.NetworkPeerPort(number))
	}
	return attributes
}

// certainty is what is known of the execution of a call that failed.
func certainty(err error) []attribute.KeyValue {
	var own *rsscript.Error
	if !errors.As(err, &own) {
		return nil
	}
	return []attribute.KeyValue{
		attribute.Bool("rs_script.indeterminate", own.Indeterminate),
		attribute.Bool("rs_script.not_executed", own.NotExecuted),
	}
}

// ofURL is what a URL says of the server; never what it says of a user.
func ofURL(url string) []attribute.KeyValue {
	scheme, rest, _ := strings.Cut(url, "://")
	rest, _, _ = strings.Cut(rest, "?")
	if strings.HasPrefix(scheme, "unix") || strings.HasSuffix(scheme, "+unix") {
		return []attribute.KeyValue{semconv.ServerAddress(rest[strings.LastIndex(rest, "@")+1:])}
	}
	address, database, _ := strings.Cut(rest[strings.LastIndex(rest, "@")+1:], "/")
	if strings.Contains(address, ",") || strings.Contains(scheme, "+sentinel") {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "6379"
	}
	attributes := []attribute.KeyValue{semconv.ServerAddress(host)}
	// By the conventions the usual port goes without saying.
	if number, err := strconv.Atoi(port); err == nil && number != 6379 {
		attributes = append(attributes, semconv.ServerPort(number))
	}
	if _, err := strconv.Atoi(database); err == nil {
		attributes = append(attributes, semconv.DBNamespace(database))
	}
	return attributes
}
