package epm

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

var inqIfIDsReplies = codec[InqIfIDsReply]{"ParseInqIfIDsReply", ParseInqIfIDsReply, InqIfIDsReply.Append}

var inqIfIDsReplyRows = []row[InqIfIDsReply]{
	{name: "C706, appendix Q: two interfaces",
		data: `03000000 02000000 02000000 04000000 05000000
			0883afe11f5dc91191a408002b14a0fa 0300 0000  80bda8af8a7dc911bef408002b102989 0100 0000 00000000`,
		want: InqIfIDsReply{Interfaces: []dcerpc.Syntax{Interface, Management}}},
	{name: "C706, appendix Q: a minor version, a null pointer",
		data: "03000000 02000000 02000000 00000000 04000000 785734123412cdabef000123456789ac 0100 0700 00000000",
		want: InqIfIDsReply{Interfaces: []dcerpc.Syntax{{}, {UUID: samr.UUID, Major: 1, Minor: 7}}}},
	{name: "C706, appendix Q: refused", data: "00000000 6da0c916", want: InqIfIDsReply{Status: StatusMgmtDisallowed}},
	{name: "C706, appendix Q: no interface", data: "03000000 00000000 00000000 00000000", lax: true},
}

var badInqIfIDsReplies = []badRow{
	{"two numbers of interfaces", "03000000 02000000 01000000", errCount},
	{"1001 interfaces", "03000000 e9030000 e9030000", ndr.ErrTooLong},
	{"2^32-1 interfaces", "03000000 ffffffff ffffffff", ndr.ErrTooLong},
}

func TestInqIfIDsReply(t *testing.T) {
	inqIfIDsReplies.check(t, inqIfIDsReplyRows)
	inqIfIDsReplies.checkFails(t, badInqIfIDsReplies)
}

func FuzzParseInqIfIDsReply(f *testing.F) {
	inqIfIDsReplies.fuzz(f, inqIfIDsReplyRows, badInqIfIDsReplies)
}

var inqStats = codec[InqStats]{"ParseInqStats", ParseInqStats, InqStats.Append}

var inqStatsRows = []row[InqStats]{
	{name: "C706, appendix Q", data: "04000000", want: InqStats{4}},
	{name: "C706, appendix Q: many", data: "ffffffff", want: InqStats{1<<32 - 1}},
}

var inqStatsReplies = codec[InqStatsReply]{"ParseInqStatsReply", ParseInqStatsReply, InqStatsReply.Append}

var inqStatsReplyRows = []row[InqStatsReply]{
	{name: "C706, appendix Q: all", data: "04000000 04000000 01000000 02000000 03000000 ffffffff 00000000",
		want: InqStatsReply{Statistics: []uint32{StatCallsIn: 1, StatCallsOut: 2, StatPacketsIn: 3, StatPacketsOut: 1<<32 - 1}}},
	{name: "C706, appendix Q: refused", data: "00000000 00000000 6da0c916", want: InqStatsReply{Status: StatusMgmtDisallowed}},
}

var badInqStatsReplies = []badRow{
	{"two counts", "04000000 03000000", errCount},
	{"five", "05000000 05000000", ndr.ErrTooLong},
}

func TestInqStats(t *testing.T) {
	inqStats.check(t, inqStatsRows)
	inqStatsReplies.check(t, inqStatsReplyRows)
	inqStatsReplies.checkFails(t, badInqStatsReplies)
}

func FuzzParseInqStats(f *testing.F) { inqStats.fuzz(f, inqStatsRows, nil) }
func FuzzParseInqStatsReply(f *testing.F) {
	inqStatsReplies.fuzz(f, inqStatsReplyRows, badInqStatsReplies)
}

var listeningReplies = codec[IsServerListeningReply]{"ParseIsServerListeningReply", ParseIsServerListeningReply, IsServerListeningReply.Append}

var listeningReplyRows = []row[IsServerListeningReply]{
	{name: "C706, appendix Q: yes", data: "00000000 01000000", want: IsServerListeningReply{Listening: true}},
	{name: "C706, appendix Q: refused", data: "6da0c916 00000000", want: IsServerListeningReply{Status: StatusMgmtDisallowed}},
}

func TestIsServerListeningReply(t *testing.T) { listeningReplies.check(t, listeningReplyRows) }

func FuzzParseIsServerListeningReply(f *testing.F) {
	listeningReplies.fuzz(f, listeningReplyRows, nil)
}

var inqPrincNames = codec[InqPrincName]{"ParseInqPrincName", ParseInqPrincName, InqPrincName.Append}

var inqPrincNameRows = []row[InqPrincName]{
	{name: "C706, appendix Q", data: "0a000000 00010000", want: InqPrincName{AuthnProtocol: 10, Size: 256}},
}

var inqPrincNameReplies = codec[InqPrincNameReply]{"ParseInqPrincNameReply", ParseInqPrincNameReply, InqPrincNameReply.Append}

var inqPrincNameReplyRows = []row[InqPrincNameReply]{
	{name: "C706, appendix Q", data: "00010000 00000000 09000000" + octets("host/srv") + "00 000000 00000000",
		want: InqPrincNameReply{Size: 256, Name: "host/srv"}},
	{name: "C706, appendix Q: just room for it", data: "04000000 00000000 04000000" + octets("srv") + "00 00000000",
		want: InqPrincNameReply{Size: 4, Name: "srv"}},
	{name: "C706, appendix Q: none", data: "00010000 00000000 01000000 00 000000 10a0c916",
		want: InqPrincNameReply{Size: 256, Status: StatusNoAuth}},
	{name: "C706, appendix Q: no room", data: "00000000 00000000 00000000 00000000"},
	{name: "C706, appendix Q: no NUL", data: "04000000 00000000 04000000" + octets("host") + "00000000", lax: true,
		want: InqPrincNameReply{Size: 4, Name: "hos"}},
	{name: "C706, appendix Q: the longest", data: "ffffffff 00000000 00020000" + strings.Repeat("61", 511) + "00 00000000",
		want: InqPrincNameReply{Size: 1<<32 - 1, Name: strings.Repeat("a", 511)}},
}

var badInqPrincNameReplies = []badRow{
	{"more than at most", "04000000 00000000 05000000" + octets("host") + "00 000000 00000000", errCount},
	{"an offset", "04000000 01000000 01000000 00 000000 00000000", errCount},
	{"513 bytes", "01020000 00000000 01020000", ndr.ErrTooLong},
}

func TestInqPrincName(t *testing.T) {
	inqPrincNames.check(t, inqPrincNameRows)
	inqPrincNameReplies.check(t, inqPrincNameReplyRows)
	inqPrincNameReplies.checkFails(t, badInqPrincNameReplies)
}

func FuzzParseInqPrincName(f *testing.F) { inqPrincNames.fuzz(f, inqPrincNameRows, nil) }
func FuzzParseInqPrincNameReply(f *testing.F) {
	inqPrincNameReplies.fuzz(f, inqPrincNameReplyRows, badInqPrincNameReplies)
}
