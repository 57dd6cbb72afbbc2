;; The matmuls of the page, with SIMD: a matrix of `rows` rows times a vector, both in memory, at byte addresses.
;; To rebuild kernel.wasm, in this folder: python -c "import pathlib, wasmtime;
;;   pathlib.Path('kernel.wasm').write_bytes(wasmtime.wat2wasm(pathlib.Path('kernel.wat').read_text()))"
(module
  (memory (export "memory") 1)

  ;; int8 weights with a scale per row, times int8 activations (stored as 16 bits) with a scale per block of `block`.
  ;; Rows have `columns` values, a multiple of 8, as has `block`; sums of a block are exact.
  (func (export "matmul_int8")
    (param $weights i32) (param $scales i32) (param $x i32) (param $x_scales i32) (param $out i32)
    (param $rows i32) (param $columns i32) (param $block i32)
    (local $stop i32) (local $at i32) (local $end i32) (local $row_end i32) (local $scale_at i32)
    (local $sum v128) (local $total f32)
    (local.set $stop (i32.add (local.get $scales) (i32.shl (local.get $rows) (i32.const 2))))
    (loop $row
      (local.set $at (local.get $x))
      (local.set $row_end (i32.add (local.get $x) (i32.shl (local.get $columns) (i32.const 1))))
      (local.set $scale_at (local.get $x_scales))
      (local.set $total (f32.const 0))
      (loop $blocks
        (local.set $end (i32.add (local.get $at) (i32.shl (local.get $block) (i32.const 1))))
        (if (i32.gt_u (local.get $end) (local.get $row_end)) (then (local.set $end (local.get $row_end))))
        (local.set $sum (v128.const i32x4 0 0 0 0))
        (loop $eight
          (local.set $sum (i32x4.add (local.get $sum)
            (i32x4.dot_i16x8_s (v128.load (local.get $at)) (v128.load8x8_s (local.get $weights)))))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (local.set $weights (i32.add (local.get $weights) (i32.const 8)))
          (br_if $eight (i32.lt_u (local.get $at) (local.get $end))))
        (local.set $total (f32.add (local.get $total) (f32.mul
          (f32.mul (f32.load (local.get $scale_at)) (f32.load (local.get $scales)))
          (f32.convert_i32_s (i32.add
            (i32.add (i32x4.extract_lane 0 (local.get $sum)) (i32x4.extract_lane 1 (local.get $sum)))
            (i32.add (i32x4.extract_lane 2 (local.get $sum)) (i32x4.extract_lane 3 (local.get $sum))))))))
        (local.set $scale_at (i32.add (local.get $scale_at) (i32.const 4)))
        (br_if $blocks (i32.lt_u (local.get $at) (local.get $row_end))))
      (f32.store (local.get $out) (local.get $total))
      (local.set $out (i32.add (local.get $out) (i32.const 4)))
      (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
      (br_if $row (i32.lt_u (local.get $scales) (local.get $stop)))))

  ;; fp32 weights times fp32 activations; rows have `columns` values, a multiple of 8.
  (func (export "matmul_fp32")
    (param $weights i32) (param $x i32) (param $out i32) (param $rows i32) (param $columns i32)
    (local $stop i32) (local $at i32) (local $row_end i32) (local $sum v128) (local $more v128)
    (local.set $stop (i32.add (local.get $out) (i32.shl (local.get $rows) (i32.const 2))))
    (local.set $row_end (i32.add (local.get $x) (i32.shl (local.get $columns) (i32.const 2))))
    (loop $row
      (local.set $at (local.get $x))
      (local.set $sum (v128.const f32x4 0 0 0 0))
      (local.set $more (v128.const f32x4 0 0 0 0))
      (loop $eight
        (local.set $sum (f32x4.add (local.get $sum)
          (f32x4.mul (v128.load (local.get $at)) (v128.load (local.get $weights)))))
        (local.set $more (f32x4.add (local.get $more)
          (f32x4.mul (v128.load offset=16 (local.get $at)) (v128.load offset=16 (local.get $weights)))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (local.set $weights (i32.add (local.get $weights) (i32.const 32)))
        (br_if $eight (i32.lt_u (local.get $at) (local.get $row_end))))
      (local.set $sum (f32x4.add (local.get $sum) (local.get $more)))
      (f32.store (local.get $out) (f32.add
        (f32.add (f32x4.extract_lane 0 (local.get $sum)) (f32x4.extract_lane 1 (local.get $sum)))
        (f32.add (f32x4.extract_lane 2 (local.get $sum)) (f32x4.extract_lane 3 (local.get $sum)))))
      (local.set $out (i32.add (local.get $out) (i32.const 4)))
      (br_if $row (i32.lt_u (local.get $out) (local.get $stop))))))
