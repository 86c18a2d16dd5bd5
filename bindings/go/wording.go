// What the native library calls by its names in C, errors of this package call by their names in Go.

//go:build cgo

package rsscript

import "strings"

// namesInGo are pairs of both names, where one begins like another the longer one first.
var namesInGo = strings.NewReplacer(
	"RS_SCRIPT_IDEMPOTENT", "Idempotent", "RS_SCRIPT_ONCE", "Once", "RS_SCRIPT_AS_FUNCTION", "AsFunction",
	"RS_LIBRARY_NAMED", "Named", "RS_LIBRARY_ONCE", "Once",
	"must be one of the RS_PROTOCOL_ numbers", "must be ProtocolAuto, RESP2 or RESP3",
	"must be one of the RS_READ_FROM_ numbers", "must be Primary, PreferReplica or Replica",
	"wait_timeout_ms", "WaitTimeout", "wait_replicas", "WaitReplicas",
	"options.flags has", "the options have", "options.flags are", "the options are", "options.flags", "the options",
	"options.name:", "Name:", "options.name", "the name", "options.route_slot", "the slot", "route_slot", "the slot",
	"options.", "", "options: once:", "Once:", "read_from is none of the RS_READ_FROM_ numbers",
	"ReadFrom is none of Primary, PreferReplica and Replica",
	"(option credentials)", "(WithCredentials)", "sentinel_password", "the password of WithSentinelAuth",
	"option call_timeout:", "WithCallTimeout:", "option client_name:", "WithClientName:",
	"option connect_timeout:", "WithConnectTimeout:", "option keepalive:", "WithKeepAlive:",
	"option map_address:", "WithMapAddress:", "option max_reply_bytes:", "WithMaxReplyBytes:",
	"option max_reply_depth:", "WithMaxReplyDepth:", "option max_waiting:", "WithMaxWaiting:",
	"option password:", "WithPassword:", "option protocol:", "WithProtocol:",
	"option read_from:", "WithReadFrom:", "option reconnect_attempts:", "WithReconnectAttempts:",
	"option reconnect_backoff:", "WithReconnectBackoff:", "option sentinel_username:", "WithSentinelAuth:",
	"option shared_connections:", "WithSharedConnections:", "option silence_timeout:", "WithSilenceTimeout:",
	"option tls_ca_file:", "WithTLSCAFile:", "option tls_ca_pem:", "WithTLSCAPEM:",
	"option tls_client_cert_file:", "WithTLSClientCert:", "option tls_client_cert_pem:", "WithTLSClientCertPEM:",
	"option tls_client_key_file:", "WithTLSClientCert:", "option tls_client_key_pem:", "WithTLSClientCertPEM:",
	"option tls_insecure_skip_verify:", "WithTLSInsecureSkipVerify:",
	"option tls_server_name:", "WithTLSServerName:", "option username:", "WithUsername:",
)

// inGo has the message of an error of the library's name what it is about, and what it advises, by its name in Go.
// What servers and scripts say stays as it is.
func (e *Error) inGo() *Error {
	if e.ServerCode != "" {
		return e
	}
	switch e.Status {
	case ErrNoRoute:
		const advice = "; see Client.WithRouteKey, WithRouteSlot, WithRouteNode and WithRouteAll"
		// Of a fake's it may be there already.
		e.Message = strings.TrimSuffix(e.Message, advice) + advice
	case ErrInvalidArgument, ErrInvalidOption:
		e.Message = namesInGo.Replace(e.Message)
	}
	return e
}
