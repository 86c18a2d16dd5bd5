// Calls that are packed already, as people speak of them: for hooks and fakes.

//go:build cgo

package rsscript

import (
	"strings"

	"github.com/rs-script/rs_script/bindings/go/internal/fake"
)

// packedItem is a command or a call of a script.
type packedItem struct {
	script     *nativeScript
	command    []string
	keys, args []string
	token      string
	readOnly   bool
}

// packedCall is one call: a pipeline, or an item that is alone.
type packedCall struct {
	isPipeline, isAtomic bool
	token                string
	items                []packedItem
}

// unpack reads what was packed; the texts are copies.
func (p *packed) unpack() packedCall {
	r, scripts := reader{string(p.buf)}, p.scripts
	next := func() *nativeScript {
		r.number()
		script := scripts[0].script
		scripts = scripts[1:]
		return script
	}
	item := func() packedItem {
		kind, flags := r.byte(), r.byte()
		switch kind {
		case packedCommand:
			return packedItem{command: r.texts(r.number()), readOnly: flags&packedReadOnly != 0}
		case packedScript:
			item := packedItem{token: r.tokenOf(flags), script: next(), readOnly: flags&packedReadOnly != 0}
			numkeys, numargs := r.number(), r.number()
			item.keys, item.args = r.texts(numkeys), r.texts(numargs)
			return item
		case packedScriptLoad:
			script := next()
			if script.function != "" {
				return packedItem{command: []string{"FUNCTION", "LOAD", script.source}}
			}
			return packedItem{command: []string{"SCRIPT", "LOAD", script.source}}
		case packedScriptExists:
			return packedItem{command: append([]string{"SCRIPT", "EXISTS"}, r.texts(r.number())...)}
		case packedScriptFlush:
			return packedItem{command: append([]string{"SCRIPT", "FLUSH"}, [][]string{nil, {"SYNC"}, {"ASYNC"}}[flags]...)}
		case packedScriptShow:
			return packedItem{command: []string{"SCRIPT", "SHOW", r.text()}}
		case packedScriptKill:
			return packedItem{command: []string{"SCRIPT", "KILL"}}
		case packedLibraryLoad:
			return packedItem{command: []string{"FUNCTION", "LOAD", r.sourceOf(flags)}}
		case packedLibraryDeploy:
			return packedItem{command: []string{"FUNCTION", "LOAD", "REPLACE", r.sourceOf(flags)}}
		case packedLibraryCheck:
			return packedItem{command: []string{"FUNCTION", "LIST", "WITHCODE"}}
		case packedLibraryList:
			return packedItem{command: []string{"FUNCTION", "LIST"}}
		case packedLibraryPrune:
			return packedItem{command: []string{"FUNCTION", "DELETE"}}
		case packedReauthenticate:
			return packedItem{command: []string{"AUTH"}}
		default:
			return packedItem{command: []string{"KILL"}}
		}
	}
	if r.rest[0] == packedRouted {
		r.take(routedHead)
		r.text()
	}
	if r.rest[0] != packedPipeline {
		return packedCall{items: []packedItem{item()}}
	}
	r.byte()
	flags := r.byte()
	call := packedCall{isPipeline: true, isAtomic: flags&packedAtomic != 0, token: r.tokenOf(flags)}
	count := r.number()
	for range count {
		call.items = append(call.items, item())
	}
	return call
}

// What stands in front of where a routed call goes, and in front of the prefix of tokens.
const (
	routedHead = 2 + 3*4
	onceHead   = 2*8 + 2*4
)

// sourceOf is the source of a library with these flags.
func (r *reader) sourceOf(flags byte) string {
	if flags&packedOnce != 0 {
		r.take(onceHead)
		r.text()
	}
	return r.text()
}

// tokenOf is the token behind these flags, if there is one.
func (r *reader) tokenOf(flags byte) string {
	if flags&packedToken == 0 {
		return ""
	}
	return r.text()
}

func (r *reader) texts(count uint32) []string {
	texts := make([]string, count)
	for i := range texts {
		texts[i] = r.text()
	}
	return texts
}

// operation is the command's name as documentation writes it: SET, SCRIPT LOAD, EVALSHA.
func (i *packedItem) operation() string {
	switch {
	case i.script != nil && i.script.function != "" && i.readOnly:
		return "FCALL_RO"
	case i.script != nil && i.script.function != "":
		return "FCALL"
	case i.script != nil && i.readOnly:
		return "EVALSHA_RO"
	case i.script != nil:
		return "EVALSHA"
	}
	name := strings.ToUpper(i.command[0])
	if containers[name] && len(i.command) > 1 {
		return name + " " + strings.ToUpper(i.command[1])
	}
	return name
}

// Commands that mean nothing without their second word.
var containers = map[string]bool{
	"ACL": true, "CLIENT": true, "CLUSTER": true, "COMMAND": true, "CONFIG": true, "FUNCTION": true, "LATENCY": true,
	"MEMORY": true, "MODULE": true,
	"OBJECT": true, "PUBSUB": true, "SCRIPT": true, "SLOWLOG": true, "XGROUP": true, "XINFO": true,
}

// info is what hooks are told of it.
func (i *packedItem) info() CallInfo {
	info := CallInfo{Operation: i.operation(), Keys: len(i.keys), Args: len(i.args), ReadOnly: i.readOnly}
	if i.script != nil {
		info.Script, info.SHA = i.script.calledName(), i.script.sha
	} else {
		info.Args = len(i.command) - 1
	}
	return info
}

func (c *packedCall) info() CallInfo {
	if !c.isPipeline {
		return c.items[0].info()
	}
	info := CallInfo{Operation: "PIPELINE"}
	if c.isAtomic {
		info.Operation = "MULTI"
	}
	for i := range c.items {
		info.Items = append(info.Items, c.items[i].info())
	}
	return info
}

// faked is what a test's fake is told of an item.
func (c *packedCall) faked(index int) *fake.Call {
	item := &c.items[index]
	call := &fake.Call{
		Command: item.command, Keys: item.keys, Args: item.args, ReadOnly: item.readOnly, Atomic: c.isAtomic,
	}
	if item.script != nil {
		call.Script, call.SHA, call.Source = item.script.calledName(), item.script.sha, item.script.source
		call.Function, call.Token = item.script.function, item.token
	}
	if c.isPipeline {
		call.Index, call.Count = index, len(c.items)
		if call.Token == "" {
			call.Token = c.token
		}
	}
	return call
}
