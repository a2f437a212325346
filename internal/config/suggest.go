package config

import (
	"slices"
	"strings"
)

// Suggest returns the one of known that word is most likely a misspelling of, or
// false if none is close: the first of [Nearest].
func Suggest(word string, known []string) (string, bool) {
	near := Nearest(word, known)
	if len(near) == 0 {
		return "", false
	}
	return near[0], true
}

// Nearest returns those of known that word may be a misspelling of, the most likely
// first. It counts letters that are missing, extra, wrong or swapped with the next
// (the Damerau-Levenshtein distance, optimal string alignment) and allows one in
// three. Upper and lower case are the same to it. Equally good ones stay in the order
// of known.
func Nearest(word string, known []string) []string {
	const longest = 64 // characters; nobody mistypes more, and the work grows with the square
	letters := []rune(strings.ToLower(word))
	if len(letters) > longest {
		return nil
	}
	most := max(1, len(letters)/3)
	var near []string
	distances := map[string]int{}
	for _, k := range known {
		target := []rune(strings.ToLower(k))
		if len(target) > longest {
			continue
		}
		// A word with all its letters wrong is another word.
		if d := distance(letters, target); d <= most && d < min(len(letters), len(target)) {
			near = append(near, k)
			distances[k] = d
		}
	}
	slices.SortStableFunc(near, func(a, b string) int { return distances[a] - distances[b] })
	return near
}

// distance returns how many edits make b of a.
func distance(a, b []rune) int {
	// Row i holds the distances of a[:i] to every beginning of b.
	var before, above []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			change := above[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
