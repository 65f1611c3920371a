/** The machine as it is now: processor, memory, graphics cards, disk. */
import type { Gpu, Hardware } from "../../api/types";
import { Meter, Panel } from "../../kit/parts";
import { bytes, count } from "../../kit/words";

function used(total: number, free: number): number {
  return total > 0 ? (total - free) / total : 0;
}

function Space({ label, total, free }: { label: string; total: number; free: number }) {
  return <Meter label={label} share={used(total, free)} text={`${bytes(free)} free of ${bytes(total)}`} />;
}

function Card({ gpu }: { gpu: Gpu }) {
  return (
    <>
      <Space label={gpu.name} total={gpu.memory_bytes} free={gpu.memory_free_bytes} />
      {gpu.use === null ? null : <Meter label={`${gpu.name}, at work`} share={gpu.use} text={`${(100 * gpu.use).toFixed(0)} %`} tone="plain" />}
    </>
  );
}

export function Machine({ machine }: { machine: Hardware }) {
  const { cores, load } = machine;
  return (
    <Panel title="This machine">
      <div className="stack">
        <Meter label="Processor" share={(load ?? 0) / Math.max(1, cores)} text={load === null ? `${count(cores)} cores` : `load ${load.toFixed(1)} on ${count(cores)} cores`} tone="plain" />
        <Space label="Memory" total={machine.ram_bytes} free={machine.ram_free_bytes} />
        {machine.gpus.map((gpu, i) => <Card key={i} gpu={gpu} />)}
        <Space label="Disk" total={machine.disk_bytes} free={machine.disk_free_bytes} />
        <p className="small soft wrap">
          {machine.cpu}
          {machine.gpus.length === 0 ? " · no graphics card" : ""}
          {machine.process_bytes === null ? "" : ` · stead itself uses ${bytes(machine.process_bytes)}`}
        </p>
      </div>
    </Panel>
  );
}
