# Stop a training run in the middle, go on, and get the very same bytes as without the stop
#
# Trains one small run twice: once in one go, once interrupted with SIGINT (what Ctrl+C sends) and gone on with by the
# same command. A checkpoint has weights, optimizer and position; random numbers follow from the position. So both end
# equal, byte for byte. Everything is in runs/resume. EPOCHS=2 changes the length.
work=runs/resume
rm -rf "$work"
python stages/download.py --data-dir "$work" --source primer --primer-megabytes 0.5
python stages/tokenizer.py --data-dir "$work" --vocab-size 2000
train=(python stages/train.py --data-dir "$work" --epochs "${EPOCHS:-3}" --warmup-steps 20)

echo "--- once in one go"
"${train[@]}" --output-dir "$work/whole"

echo "--- once interrupted"
"${train[@]}" --output-dir "$work/stopped" &
trainer=$!
until cat "$work"/stopped/checkpoints/*/log.jsonl 2> "$work/waiting" | grep -q '"event": "step"'; do
    kill -0 "$trainer"  # ends this script if training failed
    sleep 0.1
done
kill -INT "$trainer"
code=0
wait "$trainer" || code=$?
echo "--- exit code $code: interrupted and saved"
test "$code" = 130

echo "--- the same command goes on"
"${train[@]}" --output-dir "$work/stopped"

echo "--- SHA-256 of both results"
for file in best_model.pt final_model.pt training_metrics.json metrics/train.json plots/history.csv; do
    (cd "$work" && sha256sum "whole/$file" "stopped/$file")
    cmp "$work/whole/$file" "$work/stopped/$file"
done
echo "equal: all five files, byte for byte"
