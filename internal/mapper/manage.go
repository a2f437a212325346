package mapper

import (
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
)

// The management interface, which every DCE/RPC server has (C706, appendix Q).

func (m *DCE) inqIfIDs(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	return epm.InqIfIDsReply{Interfaces: []dcerpc.Syntax{epm.Interface, epm.Management}}.Append(b, c.label()), 0
}

func (m *DCE) inqStats(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	q, err := epm.ParseInqStats(c.Stub, c.header.Label)
	if err != nil {
		return nil, dcerpc.StatusBadStubData
	}
	all := []uint32{
		epm.StatCallsIn: uint32(m.stats.calls.Load()), epm.StatCallsOut: 0,
		epm.StatPacketsIn: uint32(m.stats.packetsIn.Load()), epm.StatPacketsOut: uint32(m.stats.packetsOut.Load()),
	}
	return epm.InqStatsReply{Statistics: all[:min(q.Count, uint32(len(all)))]}.Append(b, c.label()), 0
}

func (m *DCE) isListening(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	return epm.IsServerListeningReply{Listening: true}.Append(b, c.label()), 0
}

// stopListening is for nobody: the mapper ends when its administrator says so.
func (m *DCE) stopListening(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	return epm.StatusMgmtDisallowed.Append(b, c.label()), 0
}

func (m *DCE) inqPrincName(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	q, err := epm.ParseInqPrincName(c.Stub, c.header.Label)
	if err != nil {
		return nil, dcerpc.StatusBadStubData
	}
	return epm.InqPrincNameReply{Size: q.Size, Status: epm.StatusNoAuth}.Append(b, c.label()), 0
}
