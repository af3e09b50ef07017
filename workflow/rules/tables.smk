# Published values beside ours. A table is made from the results that exist and those that are asked for with it, and
# again when there are more of them; results/tables/all first makes every result of every table.


localrules:
    all_results,
    all_tables,
    results_of_table,


checkpoint all_results:
    input:
        wanted_by(*config.get("tables", {})),
    output:
        touch(f"{RESULTS}/tables/.results"),


# What the rows of one table are made of, all of it.
rule results_of_table:
    input:
        lambda wildcards: wanted_by(wildcards.table),
    output:
        touch(f"{RESULTS}/tables/{{table}}.results"),


rule all_tables:
    input:
        made_tables,
    output:
        touch(f"{RESULTS}/tables/all"),


rule least_squares:
    input:
        src=sources("least-squares"),
    output:
        path("least-squares"),
    log:
        log_of("least-squares"),
    benchmark:
        benchmark_of("least-squares")
    conda:
        "../../envs/gmcn.yaml"
    threads: 16
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=gpus(),
    params:
        settings=written(config.get("least_squares", {})),
        device=device,
        options=options,
    message:
        "Measuring least squares against the dense fit"
    shell:
        "python -m gmcn least-squares --settings {params.settings:q} --output {output:q}"
        " --device {params.device} --threads {threads} {params.options} --log {log:q}"


rule table:
    input:
        results=shown_in,
        src=sources("table"),
    output:
        markdown=path("table") + ".md",
        page=report(
            path("table") + ".html",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        csv=path("table") + ".csv",
        tex=path("table") + ".tex",
    log:
        log_of("table"),
    benchmark:
        benchmark_of("table")
    localrule: True
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda wildcards: written(tables_of.table_of(config, wildcards.table)),
        folder=lambda wildcards, output: os.path.splitext(output.markdown)[0],
        maker=maker,
        options=options,
    message:
        "Writing {wildcards.table}"
    shell:
        "python -m gmcn table --name {wildcards.table} --settings {params.settings:q} --inputs {input.results:q}"
        " --maker {params.maker:q} --output {params.folder:q} {params.options} --log {log:q}"
