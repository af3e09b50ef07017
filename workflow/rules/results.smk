# Trained networks become numbers, and all numbers of a result one JSON.


rule evaluate:
    input:
        mixtures=mixtures_of,
        models=of_seeds("model.safetensors"),
        src=sources("evaluate"),
    output:
        summary=f"{RESULTS}/runs/{{dataset}}_{{variant}}/evaluation.json",
        picture=report(
            f"{RESULTS}/runs/{{dataset}}_{{variant}}/confusion.png",
            caption="../report/confusion.rst",
            category="Confusion",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
    log:
        f"{RESULTS}/logs/evaluate/{{dataset}}_{{variant}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{dataset}}_{{variant}}.tsv"
    conda:
        "../../envs/gmcn.yaml"
    threads: 16
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=gpus(),
        turn=gpus(),
    params:
        settings=settings("evaluate"),
        device=device,
        options=options,
    message:
        "Evaluating {wildcards.variant} on {wildcards.dataset}"
    shell:
        "python -m gmcn evaluate --dataset {wildcards.dataset} --variant {wildcards.variant}"
        " --settings {params.settings:q} --mixtures {input.mixtures:q} --models {input.models:q}"
        " --output {output.summary:q} --device {params.device} --threads {threads} {params.options} --log {log:q}"


rule probe:
    input:
        mixtures=mixtures_of,
        models=of_seeds("model.safetensors"),
        src=sources("probe"),
    output:
        f"{RESULTS}/runs/{{dataset}}_{{variant}}/rmse.json",
    log:
        f"{RESULTS}/logs/probe/{{dataset}}_{{variant}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/probe/{{dataset}}_{{variant}}.tsv"
    conda:
        "../../envs/gmcn.yaml"
    threads: 16
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=gpus(),
        turn=gpus(),
    params:
        settings=settings("probe"),
        device=device,
        options=options,
    message:
        "Measuring the fitting errors of {wildcards.variant} on {wildcards.dataset}"
    shell:
        "python -m gmcn probe --dataset {wildcards.dataset} --variant {wildcards.variant}"
        " --settings {params.settings:q} --mixtures {input.mixtures:q} --models {input.models:q}"
        " --output {output:q} --device {params.device} --threads {threads} {params.options} --log {log:q}"


rule footprint:
    input:
        mixtures=mixtures_of,
        models=of_seeds("model.safetensors"),
        src=sources("footprint"),
    output:
        f"{RESULTS}/runs/{{dataset}}_{{variant}}/footprint.json",
    log:
        f"{RESULTS}/logs/footprint/{{dataset}}_{{variant}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/footprint/{{dataset}}_{{variant}}.tsv"
    conda:
        "../../envs/gmcn.yaml"
    threads: 16
    resources:
        mem_mb=growing(16000),
        runtime=growing(60),
        gpu=gpus(),
        turn=gpus(),
    params:
        settings=settings("footprint"),
        device=device,
        options=options,
    message:
        "Measuring the memory of {wildcards.variant} on {wildcards.dataset}"
    shell:
        "python -m gmcn footprint --dataset {wildcards.dataset} --variant {wildcards.variant}"
        " --settings {params.settings:q} --mixtures {input.mixtures:q} --models {input.models:q}"
        " --output {output:q} --device {params.device} --threads {threads} {params.options} --log {log:q}"


rule summarise:
    input:
        points=f"{RESULTS}/points/{{dataset}}.safetensors",
        mixtures=mixtures_of,
        training=of_seeds("training.json"),
        evaluation=rules.evaluate.output.summary,
        rmse=rules.probe.output,
        footprint=rules.footprint.output,
        src=sources("summarise"),
    output:
        result=report(
            f"{RESULTS}/{{dataset}}_{{variant}}.json",
            caption="../report/result.rst",
            category="Results",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
        curves=report(
            f"{RESULTS}/runs/{{dataset}}_{{variant}}/curves.png",
            caption="../report/curves.rst",
            category="Learning curves",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
    log:
        f"{RESULTS}/logs/summarise/{{dataset}}_{{variant}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/summarise/{{dataset}}_{{variant}}.tsv"
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        settings=settings("summarise"),
        options=options,
    message:
        "Summarising {wildcards.variant} on {wildcards.dataset}"
    shell:
        "python -m gmcn summarise --dataset {wildcards.dataset} --variant {wildcards.variant}"
        " --settings {params.settings:q} --points {input.points:q} --mixtures {input.mixtures:q}"
        " --training {input.training:q} --evaluation {input.evaluation:q} --rmse {input.rmse:q}"
        " --footprint {input.footprint:q} --output {output.result:q} {params.options} --log {log:q}"
