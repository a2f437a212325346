package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// nullCall returns a call of procedure 0, which every program has and which does nothing.
func nullCall(t *talk) (oncrpc.Call, []byte) {
	call := oncrpc.Call{XID: rand.Uint32(), Program: t.q.Program, Version: t.q.Version}
	if call.Program == 0 {
		call.Program, call.Version = rpcbind.Program, 2
		if t.Port == 2049 {
			const nfs = 100003
			call.Program, call.Version = nfs, 3
		}
	}
	return call, call.Append(nil)
}

func askONC(ctx context.Context, t *talk) error {
	call, message := nullCall(t)
	answer, err := t.exchange(ctx, message, func(b []byte) bool {
		p, _, err := oncrpc.ParseReply(b)
		return err == nil && p.XID == call.XID
	})
	if err != nil {
		return err
	}
	return t.readONC(call, answer)
}

func greetONC(ctx context.Context, t *talk) error {
	call, message := nullCall(t)
	mark := oncrpc.AppendRecordMark(nil, len(message), true)
	if err := t.turn(ctx, append(mark, message...)); err != nil {
		return err
	}
	var records oncrpc.RecordReader
	records.Reset(4096)
	for {
		b, err := t.read(1)
		if err != nil {
			return err
		}
		if _, record, err := records.Feed(b); err != nil {
			return err
		} else if record != nil {
			return t.readONC(call, record)
		}
	}
}

// readONC says what the reply to a NULL call says.
func (t *talk) readONC(call oncrpc.Call, answer []byte) error {
	reply, _, err := oncrpc.ParseReply(answer)
	if err != nil {
		return err
	}
	if reply.XID != call.XID {
		return errAnswer
	}
	t.What = "ONC RPC"
	t.Text = fmt.Sprintf("program %d version %d", call.Program, call.Version)
	var refusal *oncrpc.ReplyError
	if errors.As(reply.Err(), &refusal) {
		t.Text += ": " + refusal.Error()
	}
	return nil
}
