package portset_test

import (
	"fmt"

	"github.com/quaymaster/quaymaster/portset"
)

func Example() {
	pool, err := portset.Parse("50000-50099")
	if err != nil {
		panic(err)
	}
	free := pool.Minus(portset.Ports(50003, 50004))
	fmt.Println(free, "has", free.Len(), "ports")
	// Output: 50000-50002,50005-50099 has 98 ports
}
