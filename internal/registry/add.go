package registry

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Add registers regs, with the claim's owner: all of them or, if one cannot be,
// none. What stands already, at the same endpoint, is no error; it is believed
// anew if it is the owner's, or if the claim asks for its evidence and may. Add
// sets the fields that the registry gives and returns the registrations as they
// stand. The error joins a [RowError] for each that cannot be, wraps [ErrFull] if
// there are too many, [ErrStore] if they cannot be kept, and what the claim's
// Process said if that was asked for.
func (g *Registry) Add(c Claim, regs ...endpoint.Registration) ([]*endpoint.Registration, error) {
	g.change.Lock()
	defer g.change.Unlock()
	p := plan{g: g, claim: &c, change: change{by: &c.Owner}}
	defer func() { g.processes.drop(p.proc) }()
	p.addAll(regs)
	err := errors.Join(p.mistakes...)
	if err == nil {
		err = g.commit(&p.change)
	}
	if err != nil {
		if about := cmp.Or(p.refused, p.first); about != nil {
			g.Refuse(&c.Owner, about, err)
		}
		return nil, err
	}
	return p.standing, nil
}

// A plan is the work of Add: what stands afterwards, or why it may not be.
type plan struct {
	g        *Registry
	claim    *Claim
	first    *endpoint.Registration                    // that is to be added
	planned  map[endpoint.Place]*endpoint.Registration // what stands then where something was looked at; nil if there is one registration
	standing []*endpoint.Registration
	change   change
	mistakes []error
	refused  *endpoint.Registration // the first that is a mistake

	proc  *held // of the claim; what process returned
	asked bool  // process was called
}

// process returns the claim's process, which the plan holds, or nil if it cannot
// be had. Most registrations need none, so it is asked when one does.
func (p *plan) process() *held {
	if !p.asked {
		p.asked = true
		var err error
		if p.proc, err = p.g.processes.get(p.claim); p.proc == nil && p.claim.Evidence == endpoint.Process {
			p.mistakes = append(p.mistakes, cmp.Or(err, errNoProcess))
		}
	}
	return p.proc
}

var errNoProcess = errors.New("there is no process to live with")

func (p *plan) addAll(regs []endpoint.Registration) {
	if p.claim.Evidence == endpoint.Process && len(regs) > 0 {
		p.process()
	}
	if len(regs) > 1 {
		p.planned = map[endpoint.Place]*endpoint.Registration{}
	}
	for i := range regs {
		r := regs[i]
		r.Owner, r.Own = p.claim.Owner, false
		p.first = cmp.Or(p.first, &r)
		p.add(&r)
	}
	if p.claim.Replace {
		p.replace(regs)
	}
	p.count()
}

// A route is what one registration of DCE replaces: the interface, for an object, on
// a protocol sequence.
type route struct {
	endpoint.Interface
	object  ndr.UUID
	protseq epm.ProtSeq
}

func routeOf(r *endpoint.Registration) route { return route{r.Interface, r.Object, r.ProtSeq} }

// replace plans the end of what has the route of a registration of DCE that
// was asked for, and is not asked for. It looks at each row once.
func (p *plan) replace(regs []endpoint.Registration) {
	kept, asked, uuids := map[endpoint.Place]bool{}, map[route]*endpoint.Registration{}, map[ndr.UUID]bool{}
	for i := range regs {
		if r := &regs[i]; r.Dialect == endpoint.DCE {
			kept[r.Place()], asked[routeOf(r)], uuids[r.UUID] = true, r, true
		}
	}
	for i := range regs {
		if !uuids[regs[i].UUID] {
			continue
		}
		delete(uuids, regs[i].UUID)
		for stale := range p.g.family(regs[i].UUID, func(s *endpoint.Registration) bool { return asked[routeOf(s)] != nil && !kept[s.Place()] }) {
			p.end(stale, asked[routeOf(stale.reg)])
		}
	}
}

// end plans the end of a row that r takes the place of.
func (p *plan) end(stale *row, r *endpoint.Registration) {
	why := Removed
	if err := mayEnd(p.claim.Owner, stale.reg); err != nil {
		var holds bool
		if holds, why = p.g.holds(stale); holds {
			p.mistake(r, err)
			return
		}
	}
	p.change.end(stale, why)
}

func (p *plan) mistake(r *endpoint.Registration, err error) {
	p.refused = cmp.Or(p.refused, r)
	p.mistakes = append(p.mistakes, err)
}

// stays plans that r stands in its place.
func (p *plan) stays(r *endpoint.Registration) {
	if p.planned != nil {
		p.planned[r.Place()] = r
	}
	p.standing = append(p.standing, r)
}

// add plans one registration.
func (p *plan) add(r *endpoint.Registration) {
	g := p.g
	if err := g.mayAdd(p.claim, r); err != nil {
		p.mistake(r, err)
		return
	}
	place := r.Place()
	var named *endpoint.Registration // twice; a row is judged and renewed once
	if p.planned != nil {
		named = p.planned[place]
	}
	stands := g.at(&place)
	there := named
	if named == nil && stands != nil {
		if holds, why := g.holds(stands); holds {
			stands.affirmed++
			there = stands.reg
		} else {
			p.change.end(stands, why)
		}
	}
	if there == nil {
		p.make(r)
		return
	}
	err := sameAs(r, there)
	switch {
	case err != nil:
		p.mistake(r, err)
	case named != nil:
		p.stays(named)
	default:
		p.renew(stands, r)
	}
}

func (p *plan) make(r *endpoint.Registration) {
	p.g.last++
	r.ID, r.Since = p.g.newID(), time.Now()
	p.change.made = append(p.change.made, &row{reg: r, belief: p.believe(r), order: p.g.last})
	p.stays(r)
}

// renew plans what the claim means for a row that stands: nothing if the row is
// another's and no evidence is asked for. What is permanent stays that.
func (p *plan) renew(stands *row, r *endpoint.Registration) {
	asked := p.claim.Evidence != 0
	switch {
	case asked && !p.claim.Owner.MayChange(stands.reg):
		p.mistake(r, &RowError{r.Interface, r.Endpoint, ErrNotOwner, &stands.reg.Owner})
		return
	case !asked && p.claim.Owner != stands.reg.Owner, stands.reg.Own:
		p.stays(stands.reg)
		return
	}
	now, b := *stands.reg, stands.belief
	if now.Evidence != endpoint.Permanent {
		b = p.believeAgain(stands, &now)
	}
	if r.Dialect == endpoint.DCE && r.Annotation != "" { // where it is no part of what was registered
		now.Annotation = r.Annotation
	}
	if b.at = stands.at; now == *stands.reg && b == stands.belief {
		p.stays(stands.reg)
		return
	}
	b.at = time.Now()
	p.change.renewed = append(p.change.renewed, renewal{stands, &now, b})
	p.stays(&now)
}

// believeAgain is believe for a row that stands and holds; r is a copy of its registration.
func (p *plan) believeAgain(stands *row, r *endpoint.Registration) belief {
	if stands.reg.Evidence.Listens() && p.claim.Evidence == 0 {
		// The socket was seen a moment ago, and whose it was at first is not
		// forgotten. A process elsewhere is no better reason.
		if !p.claim.Elsewhere {
			r.PID = p.claim.PID
		}
		return stands.belief
	}
	b := p.believe(r)
	switch {
	case r.Evidence == endpoint.Permanent:
		r.Owner = p.claim.Owner
	case r.Evidence == endpoint.Waiting && stands.reg.Evidence == endpoint.Waiting:
		r.Until = stands.reg.Until // asking again is no way to wait for ever
	case r.Evidence == endpoint.Waiting && stands.reg.Evidence != endpoint.Unchecked:
		*r, b = *stands.reg, stands.belief // what it stands on, which was asked for, is firmer than that
	case r.Evidence == endpoint.Unchecked:
		b.seen, b.socketUID = stands.seen, stands.socketUID // from a run that looked
	}
	return b
}

// count looks whether there is room for what is to be made.
func (p *plan) count() {
	g, more, owner := p.g, len(p.change.made), p.claim.Owner
	if more == 0 {
		return
	}
	most, has := g.c.MaxRows, g.users[owner]
	for _, e := range p.change.ended {
		if e.reg.Owner == owner {
			has--
		}
	}
	if owner != endpoint.Superuser {
		most -= most / 10
		if has+more > g.c.MaxUserRows {
			p.mistakes = append(p.mistakes, fmt.Errorf("%d more: %w: %s has %d registrations and may have %d",
				more, ErrFull, titleOf(owner), has, g.c.MaxUserRows))
			return
		}
	}
	if all := len(g.rows) - len(p.change.ended); all+more > most {
		p.mistakes = append(p.mistakes, fmt.Errorf("%d more: %w: %d registrations of %d", more, ErrFull, all, most))
	}
}

func (g *Registry) newID() endpoint.ID {
	for {
		id := endpoint.ID(rand.Uint64N(uint64(endpoint.MaxID))) + 1
		if g.rows[id] == nil && g.given.grants[id] == nil {
			return id
		}
	}
}
