// Package dcerpc is the connection-oriented protocol of DCE/RPC (C706, chapter
// 12, with the extensions of MS-RPCE): PDUs, fragments, bindings.
package dcerpc
