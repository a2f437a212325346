package gate

// A Check is one thing that was looked at to tell whether this host is fit for a policy.
type Check struct {
	What  string `json:"what"`
	State State  `json:"state"`
	Is    string `json:"is"`
	Want  string `json:"want"`
	Mend  string `json:"mend"` // the command that mends it, or what to do; empty where nothing is to be done
}

// A State is how a [Check] ended.
type State string

// States.
const (
	Fit     State = "ok"
	Beware  State = "beware"  // it may be meant so, or not
	Missing State = "missing" // the gate does not work like this
)
