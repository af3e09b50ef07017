# Results of one data set side by side.


rule table:
    input:
        summaries=lambda wildcards: [
            f"{RESULTS}/{wildcards.dataset}_{row['variant']}.json"
            for row in config["tables"][wildcards.dataset]
        ],
        src=source("gmcn/analysis/tables.py"),
    output:
        markdown=report(
            f"{RESULTS}/tables/{{dataset}}.md",
            caption="../report/table.rst",
            category="Tables",
            labels={"data set": "{dataset}"},
        ),
        csv=f"{RESULTS}/tables/{{dataset}}.csv",
    log:
        f"{RESULTS}/logs/tables/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{dataset}}.tsv"
    localrule: True
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda wildcards: json.dumps(
            {"rows": config["tables"][wildcards.dataset]}
        ),
        folder=lambda wildcards, output: os.path.splitext(output.markdown)[0],
        options=options,
    message:
        "Writing the table of {wildcards.dataset}"
    shell:
        "python -m gmcn table --dataset {wildcards.dataset} --settings {params.settings:q}"
        " --summaries {input.summaries:q} --output {params.folder:q} {params.options} --log {log:q}"
