import { Command } from "commander";
import { minimumQemu } from "../common/package-root.ts";
import { libvirtXml } from "../host/libvirt-xml.ts";
import { addVmOptions, selectVm, type VmOptions } from "./vm-options.ts";

/** `vsockenc libvirt-xml`: prints a libvirt domain with the devices that a VM needs. */
export function libvirtXmlCommand(): Command {
  return addVmOptions(new Command("libvirt-xml"))
    .description(`print a libvirt domain with the devices that a VM needs (QEMU ${minimumQemu} or newer)`)
    .addHelpText(
      "after",
      `
Copy memoryBacking, the channels, the video and qemu:commandline into your domain (virsh edit NAME); keep
xmlns:qemu on <domain>, without which libvirt drops qemu:commandline. Remove <graphics>: VNC and SPICE do not
work with this GPU. Start \`vsockenc host\` before the domain.`,
    )
    .action((options: VmOptions) => {
      process.stdout.write(libvirtXml(selectVm(options)));
    });
}
