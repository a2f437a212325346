package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
)

// lookShare is how much of the time is spent at most on looking for what packets used up: one part of so many.
const lookShare = 10

// full reports whether a pinhole was refused for want of room.
func full(err error) bool {
	return errors.Is(err, ErrPerClient) || errors.Is(err, ErrPerServer) || errors.Is(err, ErrPinholes)
}

// forgetUsed takes out of the books what packets used up, which counts until its time is over otherwise: hosts that start from the network
// fetch hundreds of small files by TFTP within seconds. It reports whether there was any.
func (h *Pinholes) forgetUsed(ctx context.Context) (bool, error) {
	h.mu.Lock()
	begun := time.Now()
	if begun.Before(h.nextLook) {
		h.mu.Unlock()
		return false, nil
	}
	h.nextLook = begun.Add(commitPeriod) // nobody else looks meanwhile
	since := map[*held]time.Time{}
	for _, one := range h.books.held {
		if one.Once && one.committed {
			since[one] = one.since
		}
	}
	h.mu.Unlock()

	unused, err := h.kernel.unused()

	h.mu.Lock()
	h.nextLook = time.Now().Add(lookShare * time.Since(begun))
	if err != nil {
		h.mu.Unlock()
		return false, err
	}
	var changes []change
	forgotten := false
	for one, was := range since {
		if unused[one.place()] || !one.since.Equal(was) || h.books.held[one.place()] != one {
			continue
		}
		h.books.remove(one)
		forgotten = true
		if one.Outside.IsValid() { // what stands for the client is not used up
			changes = append(changes, change{Pinhole: one.Pinhole, remove: true})
		}
	}
	if forgotten {
		h.mayLack() // a list that was made while much changed may lack some
	}
	r, err := h.submit(ctx, changes)
	h.mu.Unlock()
	if err == nil {
		err = h.wait(ctx, r)
	}
	return forgotten, err
}

// unused returns where pinholes for one connection each still are.
func (k *kernelSets) unused() (map[place]bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("gate: nftables: %w", err)
	}
	all := map[place]bool{}
	for _, f := range families {
		elements, err := conn.GetSetElements(k.sets[setOnce+f.digit])
		if err != nil {
			return nil, fmt.Errorf("gate: nftables: %s%s: %w", setOnce, f.digit, err)
		}
		for _, e := range elements {
			if from, to, protocol, ok := parseKey(e.Key); ok {
				all[place{from, to, protocol, true}] = true
			}
		}
	}
	return all, nil
}
