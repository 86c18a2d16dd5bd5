// What calls have been made, what came of each, and whether servers that do as they promise can have answered so.

package histories

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// outcome is what came of a call.
type outcome int

const (
	// answered: it has run, once.
	answered outcome = iota
	// indeterminate: it has run, will run, or neither; not twice.
	indeterminate
	// notExecuted: it has not run and will not.
	notExecuted
)

// call is one append to a list, or one look at it.
type call struct {
	key string
	// id is what is appended; empty: the call only looks.
	id         string
	start, end time.Time
	outcome    outcome
	// What the list was when the call ran: how long, its last element, and which server said so.
	before int64
	last   string
	node   string
}

func (c call) String() string {
	return fmt.Sprintf("%s %q: %d, %d elements, the last %q, by %.8s", c.key, c.id, c.outcome, c.before, c.last, c.node)
}

// list is as much of a list as a call sees.
type list struct {
	length int64
	last   string
}

// model is the list, to Porcupine: what a call without an answer saw is not known.
var model = porcupine.Model{
	Init: func() any { return list{} },
	Step: func(state, input, output any) (bool, any) {
		is, made := state.(list), input.(call)
		if made.outcome == answered && (made.before != is.length || made.last != is.last) {
			return false, is
		}
		if made.id != "" {
			is = list{is.length + 1, made.id}
		}
		return true, is
	},
	Equal: func(a, b any) bool { return a == b },
}

func perKey(calls []call) map[string][]call {
	keys := map[string][]call{}
	for _, made := range calls {
		keys[made.key] = append(keys[made.key], made)
	}
	return keys
}

// checkLinearizable says what is wrong with a history of servers that lose nothing: every key's must be
// linearizable. A call of which it is not known whether it
// ran may do so at any time from its start on, for ever.
func checkLinearizable(calls []call) error {
	for key, made := range perKey(calls) {
		var operations []porcupine.Operation
		for number, call := range made {
			if call.outcome == notExecuted {
				continue
			}
			end := call.end.UnixNano()
			if call.outcome == indeterminate {
				if call.id == "" {
					continue
				}
				end = math.MaxInt64
			}
			operations = append(operations, porcupine.Operation{ClientId: number, Input: call, Call: call.start.UnixNano(), Return: end})
		}
		switch porcupine.CheckOperationsTimeout(model, operations, 5*time.Minute) {
		case porcupine.Illegal:
			return fmt.Errorf("the history of %s, of %d calls, is not linearizable:\n%s", key, len(made), shown(made))
		case porcupine.Unknown:
			return fmt.Errorf("the history of %s was not decided in five minutes", key)
		}
	}
	return nil
}

// shown is the end of a history in words.
func shown(calls []call) string {
	var text strings.Builder
	for _, call := range calls[max(0, len(calls)-40):] {
		fmt.Fprintf(&text, "  %s\n", call)
	}
	return text.String()
}

// checkFinal says what is wrong with what there is in the end: nothing twice, nothing that was said not to have
// run, nothing that nobody has called. It counts what was acknowledged and is
// not there: of each such call the server that ran it must have been replaced afterwards, or it is no server
// that has lost it.
func checkFinal(calls []call, lists map[string][]string, changes []replaced, keeps bool) (lost int, _ error) {
	for key, made := range perKey(calls) {
		places := map[string]int{}
		for at, id := range lists[key] {
			if before, isThere := places[id]; isThere {
				return 0, fmt.Errorf("%s ran twice: %s has it at %d and %d", id, key, before, at)
			}
			places[id] = at
		}
		known := 0
		for _, call := range made {
			if call.id == "" {
				continue
			}
			place, isThere := places[call.id]
			if isThere {
				known++
			}
			switch {
			case call.outcome == notExecuted && isThere:
				return 0, fmt.Errorf("said not to have run, and has: %s", call)
			case call.outcome != answered:
			case !isThere && !keeps && wasReplaced(call, changes):
				lost++
			case !isThere:
				return 0, fmt.Errorf("lost, and by no server: %s", call)
			case keeps && int64(place) != call.before:
				return 0, fmt.Errorf("at %d of the list in the end: %s", place, call)
			}
		}
		if known != len(lists[key]) {
			return 0, fmt.Errorf("%s has %d elements, of which %d were called for", key, len(lists[key]), known)
		}
	}
	return lost, nil
}

func wasReplaced(call call, changes []replaced) bool {
	for _, change := range changes {
		if change.id == call.node && change.at.After(call.start) {
			return true
		}
	}
	return false
}
