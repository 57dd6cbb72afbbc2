# Stop a training run in the middle, resume it, and get exactly the bytes of an uninterrupted run
#
# Trains one small run twice: once without a break, and once interrupted with SIGINT (what Ctrl+C sends) and resumed by
# the same command. A checkpoint contains weights, optimizer and position; random numbers are derived from the position.
# So both results are identical, byte for byte. Everything is written to runs/resume. EPOCHS=2 changes the length.
work=runs/resume
rm -rf "$work"
python stages/download.py --data-dir "$work" --source primer --primer-megabytes 0.5
python stages/tokenizer.py --data-dir "$work" --vocab-size 2000
train=(python stages/train.py --data-dir "$work" --epochs "${EPOCHS:-3}" --warmup-steps 20)

echo "--- without a break"
"${train[@]}" --output-dir "$work/whole"

echo "--- interrupted"
"${train[@]}" --output-dir "$work/stopped" &
trainer=$!
until cat "$work"/stopped/checkpoints/*/log.jsonl 2> "$work/waiting" | grep -q '"event": "step"'; do
    kill -0 "$trainer"  # ends this script if training has failed
    sleep 0.1
done
kill -INT "$trainer"
code=0
wait "$trainer" || code=$?
echo "--- exit code $code: interrupted and saved"
test "$code" = 130

echo "--- resumed by the same command"
"${train[@]}" --output-dir "$work/stopped"

sha256() {  # no program of that name is on every system
    python -c 'import hashlib, sys
for name in sys.argv[1:]:
    print(hashlib.sha256(open(name, "rb").read()).hexdigest(), "", name)' "$@"
}

echo "--- SHA-256 of both results"
for file in best_model.pt final_model.pt training_metrics.json metrics/train.json plots/history.csv plots/steps.csv; do
    (cd "$work" && sha256 "whole/$file" "stopped/$file")
    cmp "$work/whole/$file" "$work/stopped/$file"
done
echo "All six files are identical, byte for byte."
