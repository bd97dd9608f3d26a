resource_group  = "images"
location        = "westeurope"
storage_account = "exampleimages"
gallery         = "images"
