url   = "https://pve.example.com:8006"
node  = "pve"
vm_id = 9000
