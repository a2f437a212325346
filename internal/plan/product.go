package plan

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Products writes pairs of numbers as products of two lists: as few as are found by putting
// together first the pairs with the same left side, then the left sides with the same right ones. Each pair is
// in one product, and the lists are ascending.
func Products(pairs [][2]int) [][2][]int {
	right := map[int][]int{}
	for _, p := range pairs {
		right[p[0]] = append(right[p[0]], p[1])
	}
	known := map[string]int{}
	var all [][2][]int
	for _, left := range slices.Sorted(maps.Keys(right)) {
		slices.Sort(right[left])
		k := Key(right[left])
		if i, ok := known[k]; ok {
			all[i][0] = append(all[i][0], left)
			continue
		}
		known[k] = len(all)
		all = append(all, [2][]int{{left}, right[left]})
	}
	return all
}

// Key returns a string that is another for other numbers, of which none is negative.
func Key(numbers []int) string {
	b := make([]byte, 0, 3*len(numbers))
	for _, n := range numbers {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return string(b)
}
