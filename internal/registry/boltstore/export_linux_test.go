package boltstore

// SetBounds sets how large the log becomes, and how large if the database cannot be
// written. With a bound of 1 every Write goes into the database at once.
func (s *Store) SetBounds(merge, limit int64) { s.merge, s.limit = merge, limit }
