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

type scenario struct {
	Name    string
	Servers json.RawMessage
	Steps   []json.RawMessage
}

type scriptCall struct {
	Script     string
	Keys, Args []text
	ReadOnly   bool
	Idempotent bool
}

type step struct {
	scriptCall
	Do, On, Start, URL, Call, Event string
	TimeoutMs, Server               int
	Words                           []text
	Scripts                         []string
	RepairUnordered, TrustCache     bool
	Expect                          json.RawMessage
	Items                           []struct {
		scriptCall
		Command []text
	}
}

// text is a key, an argument, a word or a script: bytes, in one of the forms that the file has for them.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, (*string)(t))
	}
	var form struct {
		Hex, Repeat *string
		Times       int
	}
	if err := strictly(data, &form); err != nil {
		return err
	}
	switch {
	case form.Hex != nil:
		decoded, err := hex.DecodeString(*form.Hex)
		*t = text(decoded)
		return err
	case form.Repeat != nil:
		*t = text(strings.Repeat(*form.Repeat, form.Times))
		return nil
	}
	return fmt.Errorf("this is no text: %s", data)
}

// strictly reads JSON in which every field must be known.
func strictly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func TestScenarios(t *testing.T) {
	var file struct {
		About     []string
		Scripts   map[string]text
		Scenarios []scenario
	}
	data, err := os.ReadFile("../../tests/scenarios.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := strictly(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Scenarios) == 0 {
		t.Fatal("there are no scenarios")
	}
	for _, scenario := range file.Scenarios {
		t.Run(scenario.Name, func(t *testing.T) {
			run := startRun(t, string(scenario.Servers), file.Scripts)
			if len(scenario.Steps) == 0 {
				t.Fatal("there are no steps")
			}
			for i, data := range scenario.Steps {
				run.what = fmt.Sprintf("step %d: %s", i+1, data)
				var step step
				if err := strictly(data, &step); err != nil {
					run.fail("%v", err)
				}
				run.step(step)
			}
		})
	}
}

// scenarioRun is the servers and clients of a scenario, and its calls that are not waited for yet.
type scenarioRun struct {
	t          *testing.T
	what       string // the step
	scripts    map[string]text
	servers    []*server
	bystanders []*rsscript.Client // somebody else's, one at each server
	clients    map[string]*rsscript.Client
	calls      map[string]startedCall
}

type startedCall struct {
	cancel context.CancelFunc
	ended  chan outcome
}

// outcome is what a step came to: a [rsscript.Result], a slice of them, a value that is no reply, or nil; with an error, what arrived before it.
type outcome struct {
	value any
	err   error
}

func startRun(t *testing.T, servers string, scripts map[string]text) *scenarioRun {
	run := &scenarioRun{t: t, scripts: scripts, clients: map[string]*rsscript.Client{}, calls: map[string]startedCall{}}
	count, known := map[string]int{"": 1, "1": 1, "2": 2, `"cluster"`: 0}[servers]
	if !known {
		t.Fatalf("servers of a kind that is not known: %s", servers)
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
	if step.Do == "until" {
		deadline := time.Now().Add(20 * time.Second)
		for got := r.does(ctx, step); !r.cameTo(step.Expect, got); got = r.does(ctx, step) {
			if time.Now().After(deadline) {
				r.fail("came to %v", got)
			}
			time.Sleep(time.Millisecond)
		}
		return
	}
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
	if got := r.does(ctx, step); !r.cameTo(step.Expect, got) {
		r.fail("came to %v", got)
	}
}

func (r *scenarioRun) does(ctx context.Context, step step) (got outcome) {
	name := step.On
	if name == "" {
		name = "client"
	}
	client := r.clients[name]
	switch step.Do {
	case "register":
		got.value = r.script(client, step.scriptCall).SHA()
	case "call":
		call := r.script(client, step.scriptCall).Call
		if step.ReadOnly {
			call = r.script(client, step.scriptCall).CallRO
		}
		got.value = call(ctx, stringsOf(step.Keys), anyOf(stringsOf(step.Args))...)
	case "command":
		got.value = client.Do(ctx, anyOf(stringsOf(step.Words))...)
	case "outside", "until":
		got.value = r.bystanders[step.Server].Do(ctx, anyOf(stringsOf(step.Words))...)
	case "pipeline", "transaction":
		got.value, got.err = r.filled(client, step).Exec(ctx)
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
	case "open":
		opened, err := rsscript.Open(ctx, step.URL)
		if got.err = err; err == nil {
			opened.Close()
		}
	case "close":
		got.err = client.Close()
	case "cancel":
		r.calls[step.Call].cancel()
	case "await":
		got = <-r.calls[step.Call].ended
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

func (r *scenarioRun) script(client *rsscript.Client, call scriptCall) *rsscript.Script {
	source, known := r.scripts[call.Script]
	if !known {
		r.fail("a script that is not known: %q", call.Script)
	}
	if call.Idempotent {
		return client.Script(string(source), rsscript.Idempotent)
	}
	return client.Script(string(source))
}

func (r *scenarioRun) filled(client *rsscript.Client, step step) *rsscript.Pipeline {
	pipeline := client.Pipeline()
	if step.Do == "transaction" {
		pipeline = client.Transaction()
	}
	if step.RepairUnordered {
		pipeline.RepairUnordered()
	}
	if step.TrustCache {
		pipeline.TrustCache()
	}
	for _, item := range step.Items {
		switch {
		case item.Command != nil:
			pipeline.Do(anyOf(stringsOf(item.Command))...)
		case item.ReadOnly:
			pipeline.CallRO(r.script(client, item.scriptCall), stringsOf(item.Keys), anyOf(stringsOf(item.Args))...)
		default:
			pipeline.Call(r.script(client, item.scriptCall), stringsOf(item.Keys), anyOf(stringsOf(item.Args))...)
		}
	}
	return pipeline
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
		r.fail("an event that is not known: %q", event)
	}
}

func stringsOf(texts []text) []string {
	values := make([]string, len(texts))
	for i, text := range texts {
		values[i] = string(text)
	}
	return values
}

func anyOf[T any](elements []T) []any {
	values := make([]any, len(elements))
	for i, element := range elements {
		values[i] = element
	}
	return values
}

// expected is an expected value that JSON has no form of its own for.
type expected struct {
	Hex, Repeat, Status, Integer, Double, BigNumber, Verbatim, Format, Contains *string
	Error, ServerCode, Executed                                                 *string
	Message                                                                     string
	Times                                                                       int
	Map, Set, Arrived                                                           []json.RawMessage
}

func (r *scenarioRun) formOf(want json.RawMessage) (form expected) {
	if len(want) > 0 && want[0] == '{' {
		if err := strictly(want, &form); err != nil {
			r.fail("%s: %v", want, err)
		}
	}
	return form
}

func (r *scenarioRun) cameTo(want json.RawMessage, got outcome) bool {
	if form := r.formOf(want); form.Error != nil {
		arrived, _ := got.value.([]rsscript.Result)
		return isExpectedError(form, got.err) && r.areExpected(form.Arrived, arrived)
	}
	if got.err != nil || want == nil {
		return got.err == nil
	}
	switch value := got.value.(type) {
	case rsscript.Result:
		return r.isExpected(want, value)
	case []rsscript.Result:
		var elements []json.RawMessage
		return json.Unmarshal(want, &elements) == nil && r.areExpected(elements, value)
	}
	var wanted any
	json.Unmarshal(want, &wanted)
	return got.value != nil && reflect.DeepEqual(wanted, got.value)
}

func (r *scenarioRun) isExpected(want json.RawMessage, got rsscript.Result) bool {
	form := r.formOf(want)
	switch {
	case form.Error != nil:
		return isExpectedError(form, got.Err())
	case form.Contains != nil:
		text, err := got.Text()
		return err == nil && strings.Contains(text, *form.Contains)
	case form.Status != nil:
		return isText(*form.Status, rsscript.KindStatus, got)
	case form.BigNumber != nil:
		number, err := got.BigInt()
		return err == nil && got.Kind() == rsscript.KindBigNumber && number.String() == *form.BigNumber
	case form.Verbatim != nil && form.Format != nil:
		return isText(*form.Verbatim, rsscript.KindVerbatim, got) && got.VerbatimFormat() == *form.Format
	case form.Integer != nil:
		return isInteger(*form.Integer, got)
	case form.Double != nil:
		number, err := got.Float64()
		wanted, _ := strconv.ParseFloat(*form.Double, 64)
		return err == nil && got.Kind() == rsscript.KindDouble && (number == wanted || math.IsNaN(number) && math.IsNaN(wanted))
	case form.Map != nil:
		return r.areElements(form.Map, rsscript.KindMap, got)
	case form.Set != nil:
		return r.areElements(form.Set, rsscript.KindSet, got)
	}
	var value any
	json.Unmarshal(want, &value)
	switch value := value.(type) {
	case nil:
		return got.IsNil()
	case bool:
		is, err := got.Bool()
		return err == nil && got.Kind() == rsscript.KindBoolean && is == value
	case float64:
		return isInteger(string(want), got)
	case []any:
		var elements []json.RawMessage
		json.Unmarshal(want, &elements)
		return r.areElements(elements, rsscript.KindArray, got)
	}
	var wanted text
	if err := json.Unmarshal(want, &wanted); err != nil {
		r.fail("an expected value of a kind that is not known: %s", want)
	}
	return isText(string(wanted), rsscript.KindString, got)
}

func isText(want string, kind rsscript.Kind, got rsscript.Result) bool {
	text, err := got.Text()
	return err == nil && got.Kind() == kind && text == want
}

func isInteger(want string, got rsscript.Result) bool {
	number, err := got.Int64()
	return err == nil && got.Kind() == rsscript.KindInteger && strconv.FormatInt(number, 10) == want
}

func (r *scenarioRun) areElements(want []json.RawMessage, kind rsscript.Kind, got rsscript.Result) bool {
	elements, err := got.Slice()
	return err == nil && got.Kind() == kind && r.areExpected(want, elements)
}

func (r *scenarioRun) areExpected(want []json.RawMessage, got []rsscript.Result) bool {
	for i := range min(len(want), len(got)) {
		if !r.isExpected(want[i], got[i]) {
			return false
		}
	}
	return len(want) == len(got)
}

func isExpectedError(want expected, got error) bool {
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
	return own.Status.Error() == *want.Error && strings.Contains(own.Message, want.Message) &&
		(want.ServerCode == nil || own.ServerCode == *want.ServerCode) && (want.Executed == nil || executed == *want.Executed)
}
