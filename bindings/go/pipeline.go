// Pipelines and transactions.

//go:build cgo

package rsscript

import "context"

// Pipeline gathers commands and script calls that are sent together and answered in order. It belongs to one
// goroutine at a time.
type Pipeline struct {
	client *Client
	items  packed
	count  int
	flags  byte
	err    *Error
}

// Pipeline makes an empty pipeline.
func (c *Client) Pipeline() *Pipeline { return &Pipeline{client: c} }

// Transaction makes an empty transaction: everything in it is executed without anything in between, or nothing of it.
func (c *Client) Transaction() *Pipeline { return &Pipeline{client: c, flags: packedAtomic} }

// RepairUnordered has script calls that met NOSCRIPT, because someone flushed the scripts at the wrong moment, sent
// again after all other items even where that changes the order of what is done to a key. Not for a transaction.
func (p *Pipeline) RepairUnordered() *Pipeline {
	p.flags |= packedRepairUnordered
	return p
}

// TrustCache has a transaction not load scripts again that the server is known to have. It saves their bytes, and a
// flush by someone else lets such a script fail with NOSCRIPT while the others run. Only for a transaction.
func (p *Pipeline) TrustCache() *Pipeline {
	p.flags |= packedTrustCache
	return p
}

// Do appends a command; see [Client.Do]. What is wrong with it [Pipeline.Exec] says, and then sends nothing.
func (p *Pipeline) Do(args ...any) *Pipeline {
	return p.appended(p.items.command(args, 0))
}

// Call appends a call of a script, whatever client that belongs to; see [Script.Call].
func (p *Pipeline) Call(script *Script, keys []string, args ...any) *Pipeline {
	return p.call(script, 0, "", keys, args)
}

// CallRO appends a read-only call of a script; see [Script.CallRO].
func (p *Pipeline) CallRO(script *Script, keys []string, args ...any) *Pipeline {
	return p.call(script, packedReadOnly, "", keys, args)
}

func (p *Pipeline) call(script *Script, flags byte, token string, keys []string, args []any) *Pipeline {
	if err := script.unusable(); err != nil {
		return p.appended(err)
	}
	return p.appended(p.items.script(script.native, keys, args, flags, token))
}

func (p *Pipeline) appended(err *Error) *Pipeline {
	if err == nil {
		p.count++
	} else if p.err == nil {
		p.err = err
	}
	return p
}

// Len is the number of items.
func (p *Pipeline) Len() int { return p.count }

// Exec sends the items in one write and waits for their results, one for each item in order; an item's error is its
// result's. The pipeline is empty afterwards, whatever came of it, and can be filled again.
//
// The error is that of the whole: nothing of a transaction ran, or no replies came. With [ErrIndeterminate] and
// [ErrReplyLimit] the results are those of the first items, as far as they arrived. An empty pipeline has no results
// and sends nothing.
func (p *Pipeline) Exec(ctx context.Context) ([]Result, error) { return p.exec(ctx, &CallOptions{}) }

func (p *Pipeline) exec(ctx context.Context, options *CallOptions) ([]Result, error) {
	items, count, err := &p.items, p.count, p.err
	p.count, p.err = 0, nil
	defer func() {
		items.reset()
		// It may be kept for long.
		if cap(items.buf) > keptBatch {
			items.buf = nil
		}
	}()
	if err == nil {
		err = unfitFlags(p.flags)
	}
	if err != nil {
		return nil, err
	}
	if count == 0 {
		return nil, nil
	}
	call := callPool.Get().(*call)
	defer call.release()
	if err := call.packed.route(options); err != nil {
		return nil, err
	}
	if err := call.packed.pipeline(p.flags, options.Token, count, items); err != nil {
		return nil, err
	}
	p.client.do(ctx, call)
	return call.results()
}

// unfitFlags is why a pipeline cannot have all of these flags.
func unfitFlags(flags byte) *Error {
	isAtomic := flags&packedAtomic != 0
	switch {
	case isAtomic && flags&packedRepairUnordered != 0:
		return refused(ErrInvalidArgument, "RepairUnordered is not for a transaction; nothing was sent")
	case !isAtomic && flags&packedTrustCache != 0:
		return refused(ErrInvalidArgument, "TrustCache is for a transaction only; nothing was sent")
	}
	return nil
}

// FirstErr is the error of the first of these results that has one, such as those of [Pipeline.Exec]; nil if none has.
func FirstErr(results []Result) error {
	for i := range results {
		if err := results[i].err; err != nil {
			return err
		}
	}
	return nil
}
