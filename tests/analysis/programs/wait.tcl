proc wait {} { after 1000000 }
wait
