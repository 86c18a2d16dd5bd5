// The checks are worth something: clients that do what none may are found.

package histories

import (
	"sync/atomic"
	"testing"
)

// faults are planted in every 50th call that they fit.
var faults = map[string]func(r *recorder, made *call) bool{
	// The answer is that of an earlier call.
	"another call's answer": func(r *recorder, made *call) bool {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		for _, other := range r.calls {
			if other.key == made.key && other.outcome == answered && other.before != made.before {
				made.before, made.last = other.before, other.last
				return made.outcome == answered
			}
		}
		return false
	},
	// The call is sent again though its answer had come.
	"run twice": func(r *recorder, made *call) bool {
		if made.id == "" || made.outcome != answered {
			return false
		}
		return r.ask(made.key, made.id, patience).Err() == nil
	},
	// It was sent twice, and looked like one whose answer was lost: only the list tells.
	"run twice and indeterminate": func(r *recorder, made *call) bool {
		if made.id == "" || made.outcome != answered {
			return false
		}
		made.outcome = indeterminate
		return r.ask(made.key, made.id, patience).Err() == nil
	},
	"not executed, and it was": func(_ *recorder, made *call) bool {
		if made.id == "" || made.outcome != answered {
			return false
		}
		made.outcome = notExecuted
		return true
	},
	"answered, and it never ran": func(_ *recorder, made *call) bool {
		if made.id == "" || made.outcome != answered {
			return false
		}
		made.id += "?"
		return true
	},
}

func TestPlantedFaultsAreFound(t *testing.T) {
	calm := trouble{name: "calm", keeps: true, nodeTimeout: troubles[0].nodeTimeout, rounds: 1, happen: migrate}
	for name, plant := range faults {
		t.Run(name, func(t *testing.T) {
			var fitting, planted atomic.Int64
			h := run(t, calm, 1, func(r *recorder, made *call) {
				if fitting.Add(1)%50 == 0 && plant(r, made) {
					planted.Add(1)
				}
			})
			if planted.Load() == 0 {
				t.Fatal("nothing was planted")
			}
			_, err := h.check(true)
			if err == nil {
				t.Fatalf("%d times, and nobody has noticed", planted.Load())
			}
			// Where servers may lose what they have acknowledged, all but a wrong answer is seen too.
			if _, lossy := h.check(false); lossy == nil && name != "another call's answer" {
				t.Fatal("not noticed where servers may lose something")
			}
			// Porcupine alone sees what shows in the answers, without the list in the end.
			if name == "another call's answer" || name == "run twice" {
				if err := checkLinearizable(h.calls); err == nil {
					t.Fatal("Porcupine calls it linearizable")
				}
			}
		})
	}
}
