package main

import "math"

// leastSquares finds the factors with which the columns of x sum up to y, with the least squares of
// the relative errors: a small figure counts as much as a large one. ok is false if the columns do
// not determine the factors.
func leastSquares(x [][]float64, y []float64) (factors []float64, ok bool) {
	if len(x) == 0 || len(x) < len(x[0]) {
		return nil, false
	}
	n := len(x[0])
	// The normal equations, the right side as the last column.
	m := make([][]float64, n)
	for i := range m {
		m[i] = make([]float64, n+1)
		for k := range x {
			for j := range n {
				m[i][j] += x[k][i] * x[k][j] / (y[k] * y[k])
			}
			m[i][n] += x[k][i] / y[k]
		}
	}
	for i := range n {
		best := i
		for k := i + 1; k < n; k++ {
			if math.Abs(m[k][i]) > math.Abs(m[best][i]) {
				best = k
			}
		}
		m[i], m[best] = m[best], m[i]
		if math.Abs(m[i][i]) < 1e-12 {
			return nil, false
		}
		for k := range n {
			if k == i {
				continue
			}
			share := m[k][i] / m[i][i]
			for j := i; j <= n; j++ {
				m[k][j] -= share * m[i][j]
			}
		}
	}
	factors = make([]float64, n)
	for i := range factors {
		factors[i] = m[i][n] / m[i][i]
	}
	return factors, true
}
