package main

import (
	"math"
	"testing"
)

func TestFit(t *testing.T) {
	t.Parallel()
	want := []float64{3, 1.5, 0.8, 12}
	var x [][]float64
	var y []float64
	for _, bytes := range []float64{0.03, 0.3, 3, 14} {
		for _, rows := range []float64{0, 0.01, 1} {
			row := []float64{1, math.Ceil(rows), bytes, rows * bytes}
			sum := 0.0
			for i, v := range row {
				sum += v * want[i]
			}
			x, y = append(x, row), append(y, sum)
		}
	}
	got, ok := leastSquares(x, y)
	if !ok {
		t.Fatal("no answer")
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-6 {
			t.Errorf("factor %d: %v, want %v", i, got[i], want[i])
		}
	}
	if _, ok := leastSquares([][]float64{{1, 1}, {1, 1}, {1, 1}}, []float64{1, 2, 3}); ok {
		t.Error("columns that are the same have an answer")
	}
	if _, ok := leastSquares(nil, nil); ok {
		t.Error("nothing has an answer")
	}
}
