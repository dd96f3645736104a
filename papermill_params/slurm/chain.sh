#!/usr/bin/env bash
# The whole chain as jobs, each waiting for the one before. See README.md beside this file.
#   CPU_OPTIONS="…" GPU_OPTIONS="…" papermill_params/slurm/chain.sh PROFILE [options of python -m curemed_utils.run]
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${1:?usage: chain.sh PROFILE [options]}
read -ra cpu <<<"${CPU_OPTIONS:-}"
read -ra gpu <<<"${GPU_OPTIONS:---gpus-per-node=1}"
before=

submit() { # FIRST LAST [Slurm options]: notebooks FIRST to LAST in one job
    local first=$1 last=$2
    before=$(sbatch --parsable --job-name="curemed-$first" ${before:+--dependency="afterok:$before"} --kill-on-invalid-dep=yes "${@:3}" \
        papermill_params/slurm/notebook.sbatch "${arguments[@]}" --from "$first" --to "$last")
    before=${before%%;*} # on a federation the cluster's name follows the id
    echo "notebooks $first to $last: job $before"
}

arguments=("$profile" "${@:2}")
submit 00 02 "${cpu[@]}"
for number in 03 04 05 06; do
    submit $number $number "${gpu[@]}"
done
submit 07 07 "${gpu[@]}" --nodes=1
submit 08 09 "${cpu[@]}"
submit 10 10 "${gpu[@]}"
