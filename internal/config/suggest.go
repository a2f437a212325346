package config

import (
	"slices"
	"strings"
)

// longest is the most characters of a word that is compared: nobody mistypes more, and
// the work grows with the square.
const longest = 64

// Suggest returns the one of known that word is most likely a misspelling of, the first of
// [Nearest], or false if none is close: of its letters one in three may be wrong.
func Suggest(word string, known []string) (string, bool) {
	for _, k := range Nearest(word, known) {
		letters, target := fold(word), fold(k)
		// A word with all its letters wrong is another word.
		if d := distance(letters, target); d <= max(1, len(letters)/3) && d < min(len(letters), len(target)) {
			return k, true
		}
	}
	return "", false
}

// Nearest returns known in the order of how little is wrong with word if each of them was
// meant. It counts letters that are missing, extra, wrong or swapped with the next
// (the Damerau-Levenshtein distance, optimal string alignment). Upper and lower case are the
// same to it. Equally good ones stay in the order of known. There are none near what is
// empty or very long.
func Nearest(word string, known []string) []string {
	letters := fold(word)
	if len(letters) == 0 || len(letters) > longest {
		return nil
	}
	var near []string
	distances := map[string]int{}
	for _, k := range known {
		if target := fold(k); len(target) <= longest {
			near = append(near, k)
			distances[k] = distance(letters, target)
		}
	}
	slices.SortStableFunc(near, func(a, b string) int { return distances[a] - distances[b] })
	return near
}

func fold(word string) []rune { return []rune(strings.ToLower(word)) }

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
