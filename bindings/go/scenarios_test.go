// The scenarios that every language runs: tests/scenarios.json, which also says what their fields mean.

package rsscript_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

type scriptCall struct {
	Script, Library, Function, Token              string
	Keys, Args                                    texts
	ReadOnly, Idempotent, Once, AsFunction, Named bool
}

func (c *scriptCall) options() rsscript.CallOptions {
	return rsscript.CallOptions{ReadOnly: c.ReadOnly, Token: c.Token}
}

type step struct {
	scriptCall
	Do, On, Start, URL, Call, Event string
	TimeoutMs, Server               int
	Words                           texts
	Scripts, Libraries              []string
	RepairUnordered, TrustCache     bool
	Expect                          expectation
	Items                           []struct {
		scriptCall
		Command texts
	}
}

// texts is keys, arguments or words: bytes, in one of the forms that the file has for them.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	list, err := valueOf(data)
	values, ok := list.([]any)
	if err != nil || !ok {
		return fmt.Errorf("this is no list of texts: %s", data)
	}
	*t = texts{}
	for _, value := range values {
		text, err := textOf(value)
		if err != nil {
			return err
		}
		*t = append(*t, text)
	}
	return nil
}

func textOf(value any) (string, error) {
	form, _ := value.(map[string]any)
	if text, ok := value.(string); ok {
		return text, nil
	} else if digits, ok := form["hex"].(string); ok {
		decoded, err := hex.DecodeString(digits)
		return string(decoded), err
	} else if part, ok := form["repeat"].(string); ok {
		times, err := strconv.Atoi(fmt.Sprint(form["times"]))
		return strings.Repeat(part, times), err
	}
	return "", fmt.Errorf("this is no text: %v", value)
}

// expectation is what is expected, if anything is.
type expectation struct {
	isGiven bool
	value   any
}

func (e *expectation) UnmarshalJSON(data []byte) (err error) {
	e.isGiven = true
	e.value, err = valueOf(data)
	return err
}

// valueOf reads JSON with numbers as they are written.
func valueOf(data []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	return value, err
}

// strictly reads JSON in which every field must be known.
func strictly(t *testing.T, data []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%.300s: %v", data, err)
	}
}

func TestScenarios(t *testing.T) {
	var file struct {
		About     []string
		Scripts   map[string]any
		Libraries map[string]any
		Scenarios []struct {
			Name    string
			Servers any
			Steps   []json.RawMessage
		}
	}
	data, err := os.ReadFile("../../tests/scenarios.json")
	if err != nil {
		t.Fatal(err)
	}
	strictly(t, data, &file)
	if len(file.Scenarios) == 0 {
		t.Fatal("there are no scenarios")
	}
	for _, scenario := range file.Scenarios {
		t.Run(scenario.Name, func(t *testing.T) {
			run := startRun(t, scenario.Servers, file.Scripts)
			run.libraries = file.Libraries
			if len(scenario.Steps) == 0 {
				t.Fatal("there are no steps")
			}
			for i, data := range scenario.Steps {
				var step step
				strictly(t, data, &step)
				run.what = fmt.Sprintf("step %d: %s", i+1, data)
				run.step(step)
			}
		})
	}
}

// scenarioRun is the servers and clients of a scenario, and its calls that are not waited for yet.
type scenarioRun struct {
	t          *testing.T
	what       string // the step
	scripts    map[string]any
	libraries  map[string]any
	servers    []*server
	bystanders []*rsscript.Client // somebody else's, one at each server
	clients    map[string]*rsscript.Client
	calls      map[string]startedCall
}

type startedCall struct {
	cancel context.CancelFunc
	ended  chan outcome
}

// outcome is what a step came to: a [rsscript.Result], a slice of them, a value that is no reply, or nil; with an
// error, what arrived before it.
type outcome struct {
	value any
	err   error
}

func startRun(t *testing.T, servers any, scripts map[string]any) *scenarioRun {
	run := &scenarioRun{t: t, scripts: scripts, clients: map[string]*rsscript.Client{}, calls: map[string]startedCall{}}
	count, known := map[any]int{nil: 1, 1.0: 1, 2.0: 2, "cluster": 0}[servers]
	if !known {
		t.Fatalf("servers of a kind that is not known: %v", servers)
	}
	for _, name := range []string{"client", "other"}[:count] {
		server := ownServer(t)
		run.servers = append(run.servers, server)
		run.clients[name] = open(t, server.url)
		run.bystanders = append(run.bystanders, open(t, server.url))
	}
	if count == 0 {
		url := startCluster(t)
		run.clients["client"] = open(t, url)
		for _, address := range strings.Split(strings.TrimPrefix(url, "redis+cluster://"), ",") {
			run.bystanders = append(run.bystanders, open(t, "redis://"+address))
		}
	}
	return run
}

func (r *scenarioRun) fail(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf(r.what+": "+format, args...)
}

func (r *scenarioRun) step(step step) {
	ctx, cancel := context.WithCancel(ctx)
	if step.TimeoutMs > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(step.TimeoutMs)*time.Millisecond)
	}
	if step.Start != "" {
		call := startedCall{cancel, make(chan outcome, 1)}
		r.calls[step.Start] = call
		go func() {
			defer close(call.ended)
			call.ended <- r.does(ctx, step)
		}()
		return
	}
	defer cancel()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		got := r.does(ctx, step)
		if r.cameTo(step.Expect, got) {
			return
		}
		if step.Do != "until" || time.Now().After(deadline) {
			r.fail("came to %v", got)
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *scenarioRun) does(ctx context.Context, step step) (got outcome) {
	client := r.clients["client"]
	if step.On != "" {
		client = r.clients[step.On]
	}
	switch step.Do {
	case "register":
		got.value = r.script(client, step.scriptCall).SHA()
	case "call":
		script := r.script(client, step.scriptCall)
		switch {
		case step.Token != "":
			got.value = script.CallWith(ctx, step.options(), step.Keys, anyOf(step.Args)...)
		case step.ReadOnly:
			got.value = script.CallRO(ctx, step.Keys, anyOf(step.Args)...)
		default:
			got.value = script.Call(ctx, step.Keys, anyOf(step.Args)...)
		}
	case "command":
		got.value = client.Do(ctx, anyOf(step.Words)...)
	case "outside", "until":
		got.value = r.bystanders[step.Server].Do(ctx, anyOf(step.Words)...)
	case "pipeline":
		pipeline := client.Pipeline()
		if step.RepairUnordered {
			pipeline.RepairUnordered()
		}
		got.value, got.err = r.exec(ctx, pipeline, client, step)
	case "transaction":
		transaction := client.Transaction()
		if step.TrustCache {
			transaction.TrustCache()
		}
		got.value, got.err = r.exec(ctx, transaction, client, step)
	case "libraryLoad", "libraryCheck", "libraryDeploy":
		do := map[string]func(context.Context, *rsscript.Library) ([]rsscript.LibraryOnNode, error){
			"libraryLoad": client.LibraryLoad, "libraryCheck": client.LibraryCheck, "libraryDeploy": client.LibraryDeploy,
		}[step.Do]
		var told []rsscript.LibraryOnNode
		told, got.err = do(ctx, r.library(client, step.Library, step.Named))
		got.value = r.shown(len(told), func(i int) (any, string, error) { return string(told[i].State), told[i].Node, told[i].Err })
	case "libraryList":
		var told []rsscript.LibrariesOnNode
		told, got.err = client.LibraryList(ctx)
		got.value = r.shown(len(told), func(i int) (any, string, error) { return number(len(told[i].Libraries)), told[i].Node, told[i].Err })
	case "libraryPrune":
		keep := make([]*rsscript.Library, len(step.Libraries))
		for i, name := range step.Libraries {
			keep[i] = r.library(client, name, step.Named)
		}
		var told []rsscript.PrunedOnNode
		told, got.err = client.LibraryPrune(ctx, keep...)
		got.value = r.shown(len(told), func(i int) (any, string, error) { return number(len(told[i].Removed)), told[i].Node, told[i].Err })
	case "load":
		got.err = client.ScriptLoad(ctx, r.script(client, step.scriptCall))
	case "exists":
		shas := step.Scripts
		for i, name := range shas {
			if _, known := r.scripts[name]; known {
				shas[i] = r.script(client, scriptCall{Script: name}).SHA()
			}
		}
		var exist []bool
		exist, got.err = client.ScriptExists(ctx, shas...)
		got.value = anyOf(exist)
	case "flush":
		got.err = client.ScriptFlush(ctx, rsscript.FlushDefault)
	case "kill":
		got.err = client.ScriptKill(ctx)
	case "stop":
		var killed []rsscript.Killed
		killed, got.err = client.Kill(ctx)
		got.value = r.shownKilled(killed)
	case "open":
		var opened *rsscript.Client
		if opened, got.err = rsscript.Open(ctx, step.URL); got.err == nil {
			opened.Close()
		}
	case "close":
		got.err = client.Close()
	case "cancel":
		r.calls[step.Call].cancel()
	case "await":
		call, known := r.calls[step.Call]
		if !known {
			r.fail("no such call")
		}
		got = <-call.ended
	case "server":
		r.happens(step.Event, r.servers[step.Server])
	default:
		r.fail("a step of a kind that is not known")
	}
	if result, ok := got.value.(rsscript.Result); ok {
		got.err = result.Err()
	}
	return got
}

func (r *scenarioRun) library(client *rsscript.Client, name string, isNamed bool) *rsscript.Library {
	source, err := textOf(r.libraries[name])
	if err != nil {
		r.fail("library %q: %v", name, err)
	}
	if isNamed {
		return client.Library(source, rsscript.Named)
	}
	return client.Library(source)
}

func (r *scenarioRun) script(client *rsscript.Client, call scriptCall) *rsscript.Script {
	var options []rsscript.ScriptOption
	if call.Idempotent {
		options = append(options, rsscript.Idempotent)
	}
	if call.Once {
		options = append(options, rsscript.Once{})
	}
	if call.AsFunction {
		options = append(options, rsscript.AsFunction)
	}
	if call.Function != "" {
		return r.library(client, call.Library, call.Named).Function(call.Function, options...)
	}
	source, err := textOf(r.scripts[call.Script])
	if err != nil {
		r.fail("script %q: %v", call.Script, err)
	}
	return client.Script(source, options...)
}

// shown gives what each primary has told as the scenarios expect it.
func (r *scenarioRun) shown(count int, told func(int) (said any, node string, err error)) []any {
	shown := make([]any, count)
	for i := range shown {
		said, node, err := told(i)
		if node == "" || err != nil {
			r.fail("%q: %v", node, err)
		}
		shown[i] = said
	}
	return shown
}

func number(n int) json.Number { return json.Number(strconv.Itoa(n)) }

func (r *scenarioRun) exec(ctx context.Context, pipeline *rsscript.Pipeline, client *rsscript.Client, step step) ([]rsscript.Result, error) {
	for _, item := range step.Items {
		if item.Command != nil {
			pipeline.Do(anyOf(item.Command)...)
		} else if script := r.script(client, item.scriptCall); item.Token != "" {
			pipeline.CallWith(item.options(), script, item.Keys, anyOf(item.Args)...)
		} else if item.ReadOnly {
			pipeline.CallRO(script, item.Keys, anyOf(item.Args)...)
		} else {
			pipeline.Call(script, item.Keys, anyOf(item.Args)...)
		}
	}
	if step.Token != "" {
		return pipeline.ExecWith(ctx, step.options())
	}
	return pipeline.Exec(ctx)
}

func (r *scenarioRun) happens(event string, server *server) {
	switch event {
	case "kill":
		server.kill()
	case "pause":
		server.process.Process.Signal(syscall.SIGSTOP)
	case "resume":
		server.process.Process.Signal(syscall.SIGCONT)
	default:
		r.fail("an event that is not known")
	}
}

// shownKilled gives what was stopped as the scenarios expect it, who leave open where.
func (r *scenarioRun) shownKilled(killed []rsscript.Killed) []any {
	shown := make([]any, len(killed))
	for i, what := range killed {
		kind, name := "script", any(nil)
		if what.Function {
			kind, name = "function", what.Name
		}
		if what.Node == "" || !what.Function && what.Name != "" {
			r.fail("killed without a server, or a script with a name")
		}
		shown[i] = []any{kind, name, map[string]any{"contains": ""}}
	}
	return shown
}

func anyOf[T any](elements []T) []any {
	values := make([]any, len(elements))
	for i, element := range elements {
		values[i] = element
	}
	return values
}

func (r *scenarioRun) cameTo(want expectation, got outcome) bool {
	if form, _ := want.value.(map[string]any); form["error"] != nil {
		arrived, _ := got.value.([]rsscript.Result)
		wanted, _ := form["arrived"].([]any)
		return r.isExpectedError(form, got.err) && r.areExpected(wanted, arrived)
	}
	if got.err != nil || !want.isGiven {
		return got.err == nil
	}
	switch value := got.value.(type) {
	case rsscript.Result:
		return r.isExpected(want.value, value)
	case []rsscript.Result:
		wanted, ok := want.value.([]any)
		return ok && r.areExpected(wanted, value)
	}
	return got.value != nil && reflect.DeepEqual(want.value, got.value)
}

func (r *scenarioRun) isExpected(want any, got rsscript.Result) bool {
	switch want := want.(type) {
	case nil:
		return got.IsNil()
	case bool:
		is, err := got.Bool()
		return err == nil && got.Kind() == rsscript.KindBoolean && is == want
	case json.Number:
		return isInteger(want.String(), got)
	case []any:
		return r.areElements(want, rsscript.KindArray, got)
	}
	form, _ := want.(map[string]any)
	for kind, value := range form {
		text, _ := value.(string)
		elements, _ := value.([]any)
		switch kind {
		case "error":
			return r.isExpectedError(form, got.Err())
		case "contains":
			all, err := got.Text()
			return err == nil && strings.Contains(all, text)
		case "status":
			return isText(text, rsscript.KindStatus, got)
		case "verbatim":
			return isText(text, rsscript.KindVerbatim, got) && got.VerbatimFormat() == form["format"]
		case "integer":
			return isInteger(text, got)
		case "bigNumber":
			number, err := got.BigInt()
			return err == nil && got.Kind() == rsscript.KindBigNumber && number.String() == text
		case "double":
			number, err := got.Float64()
			wanted, _ := strconv.ParseFloat(text, 64)
			return err == nil && got.Kind() == rsscript.KindDouble && (number == wanted || math.IsNaN(number) && math.IsNaN(wanted))
		case "map":
			return r.areElements(elements, rsscript.KindMap, got)
		case "set":
			return r.areElements(elements, rsscript.KindSet, got)
		}
	}
	text, err := textOf(want)
	if err != nil {
		r.fail("an expected value of a kind that is not known: %v", err)
	}
	return isText(text, rsscript.KindString, got)
}

func isText(want string, kind rsscript.Kind, got rsscript.Result) bool {
	text, err := got.Text()
	return err == nil && got.Kind() == kind && text == want
}

func isInteger(want string, got rsscript.Result) bool {
	number, err := got.Int64()
	return err == nil && got.Kind() == rsscript.KindInteger && strconv.FormatInt(number, 10) == want
}

func (r *scenarioRun) areElements(want []any, kind rsscript.Kind, got rsscript.Result) bool {
	elements, err := got.Slice()
	return err == nil && got.Kind() == kind && r.areExpected(want, elements)
}

func (r *scenarioRun) areExpected(want []any, got []rsscript.Result) bool {
	for i := range min(len(want), len(got)) {
		if !r.isExpected(want[i], got[i]) {
			return false
		}
	}
	return len(want) == len(got)
}

func (r *scenarioRun) isExpectedError(form map[string]any, got error) bool {
	var own *rsscript.Error
	if !errors.As(got, &own) || own.Indeterminate && own.NotExecuted {
		return false
	}
	executed := "yes"
	if own.Indeterminate {
		executed = "unknown"
	} else if own.NotExecuted {
		executed = "no"
	}
	for field, want := range form {
		is := true
		switch field {
		case "error":
			is = own.Status.Error() == want
		case "message":
			is = strings.Contains(own.Message, fmt.Sprint(want))
		case "serverCode":
			is = own.ServerCode == want
		case "executed":
			is = executed == want
		case "reason":
			is = own.Reason.String() == want
		case "index":
			is = fmt.Sprint(own.Index) == fmt.Sprint(want)
		case "arrived":
		default:
			r.fail("a field that is not known: %s", field)
		}
		if !is {
			return false
		}
	}
	return true
}
